//! The folder of a mirror. This module determines each file's path without following links, and
//! detects which files already exist.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use recipes::Sha256;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::metadata::ListedFile;
use super::path::RelativePath;
use crate::digest;

/// The name of the mirror's record, a file that lists the contents of a complete mirror.
pub(crate) const RECORD: &str = "mirror.json";

/// The folder of a mirror, locked against other builders.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    _lock: File,
}

/// The state of a listed file in the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Present(u64),
    Missing,
    /// The path exists, but it is not a file, or the file's digest or size differs from the list.
    Wrong,
}

impl Folder {
    /// Opens and locks the folder, and creates it if necessary.
    pub(super) fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
        let path = root.join(".lock");
        let open = || -> io::Result<File> {
            let options = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            Ok(options)
        };
        let lock = open().with_context(|| format!("cannot open {}", path.display()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => bail!(
                "another `builder mirror` is writing to {}: wait until it has finished",
                root.display()
            ),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        let root = root.canonicalize()?;
        Ok(Self { root, _lock: lock })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of a file in one of the mirror's folders. Refuses the path if one of its
    /// folders is a symbolic link.
    pub(super) fn path(&self, area: &RelativePath, file: &RelativePath) -> Result<PathBuf> {
        let mut path = self.root.clone();
        for name in area.names().chain(file.names()) {
            refuse_link(&path)?;
            path.push(name);
        }
        Ok(path)
    }

    /// Returns the path of a file for writing, and creates the file's parent folder.
    pub(super) fn place(&self, area: &RelativePath, file: &RelativePath) -> Result<PathBuf> {
        let path = self.path(area, file)?;
        let above = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(above).with_context(|| format!("cannot create {}", above.display()))?;
        // Refuse links at the paths of the partial download, because a download opens existing
        // partial files and would follow a link.
        for ending in [".part", ".part.from"] {
            refuse_link(&with_ending(&path, ending))?;
        }
        Ok(path)
    }

    /// Returns the state of a listed file.
    pub(super) fn status(&self, area: &RelativePath, file: &ListedFile) -> Result<Status> {
        let path = self.path(area, &file.path)?;
        let about = match fs::symlink_metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Status::Missing),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        if !about.is_file() || file.size.is_some_and(|size| size != about.len()) {
            return Ok(Status::Wrong);
        }
        let (size, sha256) =
            digest::of_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(if sha256 == file.sha256 {
            Status::Present(size)
        } else {
            Status::Wrong
        })
    }

    /// Returns the content of a small file, if the file has this digest.
    pub(super) fn verified(
        &self,
        area: &RelativePath,
        file: &RelativePath,
        sha256: Sha256,
    ) -> Result<Option<Vec<u8>>> {
        let path = self.path(area, file)?;
        let bytes = fs::read(&path).ok();
        Ok(bytes.filter(|bytes| Sha256::of(bytes) == sha256))
    }

    /// Writes a file durably, and creates the file's parent folder.
    pub(super) fn write(
        &self,
        area: &RelativePath,
        file: &RelativePath,
        bytes: &[u8],
    ) -> Result<()> {
        let path = self.place(area, file)?;
        write_durably(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes the record durably if the mirror contains another version of this list. After this
    /// call, `builder mirror` replaces files that the list names. If this run is then interrupted,
    /// the mirror must not look complete. Without a record, the next run again downloads all lists
    /// that have no pinned digest.
    pub(super) fn begin_change(
        &self,
        area: &RelativePath,
        list: &RelativePath,
        bytes: &[u8],
    ) -> Result<()> {
        let old = fs::read(self.path(area, list)?).ok();
        if old.is_none_or(|old| old == bytes) {
            return Ok(());
        }
        let path = self.root.join(RECORD);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| File::open(&self.root)?.sync_all()),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Returns the free space, in bytes, on the folder's file system.
    pub(super) fn free(&self) -> Result<u64> {
        let about = rustix::fs::statvfs(&self.root)
            .with_context(|| format!("cannot read {}", self.root.display()))?;
        Ok(about.f_bavail.saturating_mul(about.f_frsize))
    }
}

/// Writes a file durably, with a mode that lets everyone read it. Replaces an existing file.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

/// Returns the path with this suffix appended.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// Refuses a symbolic link, because its target could be anywhere, and because `builder serve` does
/// not follow symbolic links.
fn refuse_link(path: &Path) -> Result<()> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink());
    ensure!(
        !is_link,
        "{} is a symbolic link, which a mirror must not contain. Remove it, or name another folder with --out",
        path.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_file_is_written_through_a_link() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let folder = Folder::open(&root.path().join("mirror")).unwrap();
        let area: RelativePath = "tree".parse().unwrap();
        let file: RelativePath = "Packages/a.rpm".parse().unwrap();
        fs::create_dir(folder.root().join("tree")).unwrap();
        symlink(&outside, folder.root().join("tree/Packages")).unwrap();
        for result in [
            folder.path(&area, &file).map(drop),
            folder.place(&area, &file).map(drop),
            folder.write(&area, &file, b"x"),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("Packages is a symbolic link"), "{error}");
        }
        fs::remove_file(folder.root().join("tree/Packages")).unwrap();
        fs::create_dir(folder.root().join("tree/Packages")).unwrap();
        symlink(
            outside.join("part"),
            folder.root().join("tree/Packages/a.rpm.part"),
        )
        .unwrap();
        assert!(folder.place(&area, &file).is_err());
        // A link at the path of the file itself is replaced and not followed.
        symlink(
            outside.join("file"),
            folder.root().join("tree/Packages/b.rpm"),
        )
        .unwrap();
        let file: RelativePath = "Packages/b.rpm".parse().unwrap();
        let listed = ListedFile {
            path: file.clone(),
            sha256: Sha256::of(b"x"),
            size: None,
        };
        assert_eq!(folder.status(&area, &listed).unwrap(), Status::Wrong);
        folder.write(&area, &file, b"x").unwrap();
        assert_eq!(folder.status(&area, &listed).unwrap(), Status::Present(1));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn a_mirror_is_not_complete_while_its_lists_change() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let record = root.path().join("mirror.json");
        let area: RelativePath = "tree".parse().unwrap();
        let [list, other]: [RelativePath; 2] =
            ["repodata/repomd.xml", ".treeinfo"].map(|path| path.parse().unwrap());
        folder.write(&area, &list, b"old").unwrap();
        fs::write(&record, "{}").unwrap();
        folder.begin_change(&area, &list, b"old").unwrap();
        folder.begin_change(&area, &other, b"added").unwrap();
        assert!(record.exists());
        folder.begin_change(&area, &list, b"new").unwrap();
        assert!(!record.exists());
        folder.begin_change(&area, &list, b"new").unwrap();
    }

    #[test]
    fn only_one_builder_can_write_to_a_mirror() {
        let root = tempfile::tempdir().unwrap();
        let first = Folder::open(root.path()).unwrap();
        let error = Folder::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("another `builder mirror`"), "{error}");
        drop(first);
        Folder::open(root.path()).unwrap();
    }
}
