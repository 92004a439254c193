//! Checks that the image's files on this machine are unchanged, before firstboot starts etcd.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use recipes::{ImageFile, ImageFileList, Sha256};
use serde::{Deserialize, Serialize};

use crate::exit::refused;
use crate::files::{self, DesiredFile};
use crate::paths;
use crate::reason::{Reason, ReasonId};

/// The state of a file's inode at the time when firstboot last compared the file's digest. An
/// unchanged inode state shows that no program has changed the content through the file system.
/// Only an attacker with root privileges can forge the state. By comparing inode states, firstboot
/// avoids reading 75 MB of files at every boot, which would take longer than all other checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InodeState {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// The digest and the inode state of each verified file, by the file's path in the image.
pub(crate) type VerifiedFiles = BTreeMap<String, (Sha256, InodeState)>;

impl InodeState {
    /// Reads the state of the inode at a path, without following a symbolic link.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let meta = fs::symlink_metadata(path)
            .with_context(|| format!("cannot read the attributes of {}", path.display()))?;
        // Use the inode's change time, because programs can set the modification time but not the
        // change time.
        Ok(Self {
            inode: meta.ino(),
            size: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// A file that differs from the image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AlteredFile {
    /// The absolute path.
    pub(crate) path: PathBuf,
    why: String,
}

/// Compares the files of the overlay with the image's file list. Reads only files whose inodes have
/// changed.
///
/// # Errors
/// Returns a refusal if the kickstart did not finish, or if a file is missing or altered. The
/// message names each missing or altered file.
pub(crate) fn verify_changed() -> Result<()> {
    if files::read_if_there(paths::INSTALLED)?.is_none() {
        return Err(refused(ReasonId::ImageIncomplete.because(format!(
            "{} is missing: the installation of this node did not finish. Reinstall the node",
            paths::INSTALLED
        ))));
    }
    let file_list = file_list()?;
    refuse_altered(compare(&file_list, &known_files()?)).map(drop)
}

/// Returns the verified files of the last comparison, or none if no readable record exists.
pub(crate) fn known_files() -> Result<VerifiedFiles> {
    let known = files::read_if_there(paths::VERIFIED)?
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(known.unwrap_or_default())
}

/// Reads the file list of this node's image.
pub(crate) fn file_list() -> Result<ImageFileList> {
    let no = |why: String| {
        refused(ReasonId::ImageIncomplete.because(format!("{why}. Reinstall this node")))
    };
    let bytes = files::read(paths::IMAGE).map_err(|error| no(format!("{error:#}")))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        no(format!(
            "{} is not a list of an image's files: {error}",
            paths::IMAGE
        ))
    })
}

/// Compares all files that must not change, but reads only those whose inodes have changed. Stores
/// the inode states unless a file is altered. Returns the number of compared files if all are
/// unchanged, or the altered files.
pub(crate) fn compare(
    file_list: &ImageFileList,
    known: &VerifiedFiles,
) -> Result<Result<usize, Vec<AlteredFile>>> {
    let mut now = VerifiedFiles::new();
    let mut altered = Vec::new();
    for file in file_list.files.iter().filter(|file| !file.mutable) {
        let path = Path::new("/").join(&file.path);
        match look(&path, file, known.get(&file.path)) {
            Ok(seen) => {
                now.insert(file.path.clone(), (file.sha256, seen));
            }
            Err(why) => altered.push(AlteredFile { path, why }),
        }
    }
    if !altered.is_empty() {
        return Ok(Err(altered));
    }
    if now != *known {
        files::DesiredDir::new(paths::STATE, 0o700, files::ROOT).make()?;
        DesiredFile::new(paths::VERIFIED, serde_json::to_vec(&now)?)
            .mode(0o600, files::ROOT)
            .write()?;
    }
    Ok(Ok(now.len()))
}

pub(crate) fn refuse_altered(compared: Result<Result<usize, Vec<AlteredFile>>>) -> Result<usize> {
    compared?.map_err(|altered| refused(reason(&altered)))
}

pub(crate) fn reason(altered: &[AlteredFile]) -> Reason {
    let whys: Vec<&str> = altered.iter().map(|file| file.why.as_str()).collect();
    ReasonId::ImageAltered.because(format!(
        "files of the image were changed on this node: {}. Reinstall the node, or restore the files",
        whys.join("; ")
    ))
}

/// Returns the message for a unit that an operator masked manually, or `None` if the path is not a
/// link to /dev/null.
fn masked(path: &Path) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    let path = path.display();
    (target == Path::new("/dev/null")).then(|| {
        format!(
            "{path} is a link to /dev/null, so systemd treats the unit as masked. Replace \
                the link with the file from another node"
        )
    })
}

fn look(
    path: &Path,
    file: &ImageFile,
    known: Option<&(Sha256, InodeState)>,
) -> Result<InodeState, String> {
    let seen = InodeState::at(path).map_err(|error| format!("{error:#}"))?;
    // The inode state of a symbolic link does not show a change of the file to which it points.
    let is_link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    if !is_link && known.is_some_and(|(digest, before)| *digest == file.sha256 && *before == seen) {
        return Ok(seen);
    }
    let found = files::digest(path)
        .map_err(|error| masked(path).unwrap_or_else(|| format!("{error:#}")))?;
    if found != file.sha256 {
        return Err(format!(
            "{} was altered (expected sha256 {}, found {found})",
            path.display(),
            file.sha256
        ));
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_link_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("file"), folder.path().join("target"));
        fs::write(&target, "good").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let file = ImageFile {
            path: "file".to_owned(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 4,
            sha256: Sha256::of(b"good"),
            mutable: false,
        };
        let seen = look(&path, &file, None).unwrap();
        let known = (file.sha256, seen);
        assert!(look(&path, &file, Some(&known)).is_ok());
        fs::write(&target, "evil").unwrap();
        let why = look(&path, &file, Some(&known)).unwrap_err();
        assert!(why.contains("was altered"), "{why}");
    }
}
