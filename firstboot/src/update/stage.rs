//! Fetches a release, unpacks its image next to the image in use, compares each file of the image
//! with the image's file list, and flushes the files to the disk. The system does not use the new
//! image yet.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use recipes::{
    ClusterDocument, ImageBase, ImageFile, ImageFileList, InstallData, Label, ReleaseDocument,
    Sha256,
};

use super::file_changes::UNLISTED;
use super::source::{Source, check_room};
use super::this_node::ThisNode;
use crate::exit::{id_of, not_ready, refused};
use crate::files::{self, DesiredDir, DesiredFile, Kind, ROOT};
use crate::image_integrity::{InodeState, VerifiedFiles};
use crate::reason::{Reason, ReasonId};
use crate::{paths, system_command};

/// The unit that rolls back an update after a power cut. An update to an image without this unit
/// cannot be rolled back.
const UPDATE_UNIT_FILE: &str = "etc/systemd/system/firstboot-update.service";
/// The free space that an update needs for the unpacked files and the kept files, as a multiple of
/// the overlay's size.
const ROOM_PER_OVERLAY: u64 = 4;

/// The maximum number of searches for a release, if builds keep replacing the release during the
/// download.
const SEARCHES: u32 = 3;

/// An unpacked image that matches its file list.
#[derive(Debug)]
pub(super) struct Staged {
    /// The folder that contains the image's files.
    pub(super) root: PathBuf,
    pub(super) file_list: ImageFileList,
    /// Whether an installation from the image keeps etcd's data.
    pub(super) data: InstallData,
}

/// Fetches and unpacks a release, unless an earlier command has already staged it.
///
/// # Errors
/// Returns a refusal if any byte differs from the signed release, or if the image is not meant for
/// this node, trusts a different signing key or could not be rolled back. Also fails if the overlay
/// cannot be fetched, or if the disk does not have enough free space.
pub(super) fn stage(source: &Source, release: &ReleaseDocument, own: &ThisNode) -> Result<Staged> {
    DesiredDir::new(paths::UPDATE, 0o700, ROOT).make()?;
    let (overlay, node) = (release.overlay, &own.node);
    if let Some(staged) = staged_before(release, node) {
        // A power cut may have restored the downloaded overlay that the earlier command removed.
        remove_archives(Path::new(paths::UPDATE), None)?;
        return Ok(staged);
    }
    let archive = Path::new(paths::UPDATE).join(format!(
        "overlay-{}.tar.gz",
        &overlay.sha256.to_string()[..16]
    ));
    remove_archives(Path::new(paths::UPDATE), Some(&archive))?;
    let root = PathBuf::from(paths::UPDATE_NEW);
    remove_staged()?;
    check_room(
        Path::new(paths::UPDATE),
        overlay.size.saturating_mul(ROOM_PER_OVERLAY),
    )?;

    if let Err(error) = fetch(source, release, &archive) {
        return Err(cause(error, release, own.fetch(source).ok().as_ref()));
    }
    DesiredDir::new(&root, 0o755, ROOT).make()?;
    // The options for owners and permissions are the same as in the kickstart. The overlay is safe
    // to unpack, because its digest matches the release.
    let words = [
        "--extract",
        "--gzip",
        "--numeric-owner",
        "--same-permissions",
        "--directory",
        paths::UPDATE_NEW,
        "--file",
    ];
    system_command::run("tar", &[&words[..], &[&archive.to_string_lossy()]].concat())?;
    let staged = examine(root, release, node)?;
    files::remove(&archive)?;
    Ok(staged)
}

/// Returns the cluster document of the staged image, or `None` if no image is staged.
pub(super) fn staged_cluster() -> Result<Option<ClusterDocument>> {
    let path = format!("{}{}", paths::UPDATE_NEW, paths::CLUSTER);
    files::read_if_there(&path)?
        .map(|text| serde_json::from_slice(&text))
        .transpose()
        .with_context(|| format!("{path} cannot be parsed"))
}

/// Removes the staged image.
pub(super) fn remove_staged() -> Result<()> {
    files::remove_all(Path::new(paths::UPDATE_NEW))?;
    files::remove(paths::UPDATE_STAGED)
}

/// Fetches the overlay of a release, and checks the overlay's digest.
fn fetch(source: &Source, release: &ReleaseDocument, archive: &Path) -> Result<()> {
    let overlay = release.overlay;
    let mut file = open(archive)?;
    if file.metadata()?.len() < overlay.size {
        eprintln!(
            "fetching image {} from {source}: {} MiB",
            release.serial,
            overlay.size >> 20
        );
    }
    source.overlay(&overlay, &mut file)?;
    file.sync_all()?;
    drop(file);
    let found = files::digest(archive)?;
    if found == overlay.sha256 {
        return Ok(());
    }
    files::remove(archive)?;
    Err(refused(ReasonId::UpdateAltered.because(format!(
        "the overlay from {source} was altered: its SHA-256 is {found}, but the release states {}. firstboot did not unpack anything",
        overlay.sha256
    ))))
}

/// Returns the cause of a failed download of an overlay. If the source has another release now, a
/// build has replaced the overlay.
fn cause(
    error: anyhow::Error,
    release: &ReleaseDocument,
    now: Option<&ReleaseDocument>,
) -> anyhow::Error {
    match now {
        Some(now) if now != release => not_ready(ReasonId::UpdateReplaced.because(format!(
            "a build replaced image {} with image {} during the download. Try again",
            release.serial, now.serial
        ))),
        _ => error,
    }
}

/// Calls `search`, which finds and stages a release. If a build replaced the release during the
/// download, calls `search` again. Calls `search` at most [`SEARCHES`] times in total.
pub(super) fn retry_if_replaced<T>(mut search: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..SEARCHES {
        match search() {
            Err(error) if id_of(&error) == Some(ReasonId::UpdateReplaced) => {
                eprintln!("{error:#}");
            }
            found => return found,
        }
    }
    search()
}

/// Compares the staged image with its file list and with the release once more.
pub(super) fn staged(release: &ReleaseDocument, node: &Label) -> Result<Staged> {
    examine(PathBuf::from(paths::UPDATE_NEW), release, node)
}

/// Returns the image that an earlier command, such as `--check`, has staged for this release, or
/// `None` if there is no such image.
fn staged_before(release: &ReleaseDocument, node: &Label) -> Option<Staged> {
    let marker = files::read(Path::new(paths::UPDATE_NEW).join(UNLISTED[2])).ok()?;
    let is_of_release = marker == marker_of(release).into_bytes();
    is_of_release.then(|| staged(release, node).ok()).flatten()
}

/// Returns the content of the installation marker, which [`examine`] writes last.
fn marker_of(release: &ReleaseDocument) -> String {
    format!("{}\n", release.overlay.sha256)
}

/// Removes all downloaded overlays in a folder, except the given one.
fn remove_archives(folder: &Path, except: Option<&Path>) -> Result<()> {
    for name in files::install::names(folder)? {
        let path = folder.join(&name);
        if name.to_string_lossy().starts_with("overlay-") && Some(&*path) != except {
            files::remove(&path)?;
        }
    }
    Ok(())
}

fn open(archive: &Path) -> Result<File> {
    if !files::exists(archive)? {
        drop(
            files::create(archive)
                .with_context(|| format!("cannot create {}", archive.display()))?,
        );
    }
    // No other user could have replaced the file with a link, because only root can write to this
    // folder.
    File::options()
        .read(true)
        .write(true)
        .open(archive)
        .with_context(|| format!("cannot open {}", archive.display()))
}

/// Compares an unpacked image with its own file list, with the release and with this node's image,
/// flushes the unpacked image to the disk, and writes its installation marker.
fn examine(root: PathBuf, release: &ReleaseDocument, node: &Label) -> Result<Staged> {
    let broken = |why: String| {
        refused(
            ReasonId::UpdateAltered.because(format!("image {} is damaged: {why}", release.serial)),
        )
    };
    let read =
        |path: &str| files::read(root.join(path)).map_err(|error| broken(format!("{error:#}")));
    let file_list: ImageFileList = serde_json::from_slice(&read(UNLISTED[0])?)
        .map_err(|error| broken(format!("{} is not a file list: {error}", UNLISTED[0])))?;
    let listed: BTreeSet<&str> = file_list
        .files
        .iter()
        .map(|file| file.path.as_str())
        .chain(UNLISTED)
        .collect();
    compare(&root, &file_list, &listed).map_err(|error| broken(format!("{error:#}")))?;

    let cluster: ClusterDocument = serde_json::from_slice(&read("etc/firstboot/cluster.json")?)
        .map_err(|error| {
            broken(format!(
                "etc/firstboot/cluster.json cannot be parsed: {error}"
            ))
        })?;
    let base: ImageBase = serde_json::from_slice(&read("etc/firstboot/base.json")?)
        .map_err(|error| broken(format!("etc/firstboot/base.json cannot be parsed: {error}")))?;
    let own: ClusterDocument = crate::identity::cluster()?;
    let why = if read("etc/firstboot/trust.pub")? != files::read(paths::SIGNING_PUBLIC_KEY)? {
        Some(ReasonId::UpdateTrust.because(
            "it trusts a different signing key, and would refuse this node's \
                     document",
        ))
    } else if let Some(why) = other_node(&cluster, &own, node) {
        Some(why)
    } else if base.digest() != release.base || cluster.etcd.version != release.etcd {
        Some(ReasonId::UpdateAltered.because("it is not the image that the release describes"))
    } else if !listed.contains(UPDATE_UNIT_FILE) {
        Some(ReasonId::UpdateNoWayBack.because(format!(
            "it does not contain {UPDATE_UNIT_FILE}, so it could not be rolled back"
        )))
    } else {
        None
    };
    if let Some(why) = why {
        return Err(refused(
            why.map(|why| format!("image {} is refused: {why}", release.serial)),
        ));
    }
    DesiredFile::new(root.join(UNLISTED[2]), marker_of(release)).write()?;
    Ok(Staged {
        root,
        file_list,
        data: cluster.data,
    })
}

/// Returns the reason why an image is not for this node, or `None` if it is for this node.
fn other_node(new: &ClusterDocument, own: &ClusterDocument, node: &Label) -> Option<Reason> {
    let is_other = new.name != own.name || new.member(node) != own.member(node);
    is_other.then(|| {
        ReasonId::UpdateNode.because(format!(
            "it does not have the node {node} of the cluster {} with this node's address",
            own.name
        ))
    })
}

/// Compares all files of a staged image with its file list, and makes them durable. Reads only
/// files whose inodes have changed since an earlier comparison, and flushes the files only if an
/// inode has changed.
fn compare(root: &Path, file_list: &ImageFileList, listed: &BTreeSet<&str>) -> Result<()> {
    let known = known_files()?;
    let mut staged = VerifiedFiles::new();
    for file in &file_list.files {
        let state = verify(root, file, known.get(&file.path))?;
        staged.insert(file.path.clone(), (file.sha256, state));
    }
    let is_new = staged != known;
    walk(root, "", listed, is_new)?;
    if is_new {
        DesiredFile::new(paths::UPDATE_STAGED, serde_json::to_vec(&staged)?)
            .mode(0o600, ROOT)
            .write()?;
    }
    Ok(())
}

/// Returns the inode states of the staged files that were compared and flushed earlier.
fn known_files() -> Result<VerifiedFiles> {
    let known = files::read_if_there(paths::UPDATE_STAGED)?
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(known.unwrap_or_default())
}

/// Compares a single file with its entry in the file list.
fn verify(
    root: &Path,
    file: &ImageFile,
    known: Option<&(Sha256, InodeState)>,
) -> Result<InodeState> {
    let path = root.join(&file.path);
    let there = files::look(&path)?.with_context(|| format!("{} is missing", file.path))?;
    ensure!(there.kind == Kind::File, "{} is {}", file.path, there.kind);
    ensure!(
        (there.mode, there.owner, there.size) == (file.mode, (file.uid, file.gid), file.size),
        "{} does not have the mode, owner and size that the file list states",
        file.path
    );
    let state = InodeState::at(&path)?;
    if known.is_none_or(|known| *known != (file.sha256, state.clone())) {
        ensure!(
            files::digest(&path)? == file.sha256,
            "{} does not have the content that the file list states",
            file.path
        );
    }
    Ok(state)
}

/// Refuses files that are not in `listed`. With `flush`, makes all files and folders durable.
fn walk(folder: &Path, prefix: &str, listed: &BTreeSet<&str>, flush: bool) -> Result<()> {
    for name in files::install::names(folder)? {
        let name = name
            .to_str()
            .context("the folder contains a file name that is not UTF-8")?
            .to_owned();
        let (path, listed_as) = (folder.join(&name), format!("{prefix}{name}"));
        match files::look(&path)?.map(|there| there.kind) {
            Some(Kind::Directory) => walk(&path, &format!("{listed_as}/"), listed, flush)?,
            Some(Kind::File) if listed.contains(listed_as.as_str()) => {
                if flush {
                    files::install::sync_file(&path)?;
                }
            }
            _ => bail!("{listed_as} is not in the file list"),
        }
    }
    if flush {
        files::sync(folder).with_context(|| format!("cannot flush {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
