//! Reads and writes files on the node. A write replaces the whole file or leaves it unchanged, and
//! is durable when it succeeds. In a folder to which another user can write, firstboot does not
//! follow links (see `dir`).

mod attributes;
mod dir;
pub(crate) mod install;
pub(crate) mod partial_file;
mod tree;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use recipes::Sha256;

pub(crate) use attributes::{FileAttributes, FileFingerprint, Kind};
pub(crate) use dir::Dir;

/// The ids of etcd's user and group. The kickstart sets these ids, so that they are the same on
/// every node.
pub(crate) const ETCD: (u32, u32) = (recipes::ETCD_ID, recipes::ETCD_ID);
/// The ids of root's user and group.
pub(crate) const ROOT: (u32, u32) = (0, 0);

/// Returns the number of free bytes on the file system of an existing path, without the blocks that
/// only root can use.
pub(crate) fn free_space(path: &Path) -> Result<u64> {
    let space = nix::sys::statvfs::statvfs(path)
        .with_context(|| format!("cannot determine the free space of {}", path.display()))?;
    Ok(space.blocks_available() * space.fragment_size())
}

/// The desired state of a file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DesiredFile {
    pub(crate) path: PathBuf,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

// The output omits the content, which may be a private key.
impl std::fmt::Debug for DesiredFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({} bytes, {:04o})",
            self.path.display(),
            self.content.len(),
            self.mode
        )
    }
}

impl DesiredFile {
    /// Creates the desired state of a file that belongs to root and that every user may read.
    pub(crate) fn new(path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            content: content.into(),
            mode: 0o644,
            owner: ROOT,
        }
    }

    /// Returns the same file with a different mode and owner.
    pub(crate) fn mode(self, mode: u32, owner: (u32, u32)) -> Self {
        Self {
            mode,
            owner,
            ..self
        }
    }

    /// Returns whether the file exists with exactly this content, mode and owner, and without a
    /// second hard link. Fails if the entry is not a regular file.
    pub(crate) fn is_current(&self) -> Result<bool> {
        let Some(there) = look(&self.path)? else {
            return Ok(false);
        };
        if there.kind != Kind::File {
            bail!(
                "{} is {}, not a regular file; move it away",
                self.path.display(),
                there.kind
            );
        }
        let same = there.mode == self.mode && there.owner == self.owner && there.links == 1;
        Ok(same && there.size == self.content.len() as u64 && read(&self.path)? == self.content)
    }

    /// Writes the file durably: creates a private file with a temporary name in the same folder,
    /// flushes this file, renames it over the old file, and flushes the folder. If the new file
    /// were not flushed before the rename, XFS could leave an empty file after a power cut.
    pub(crate) fn write(&self) -> Result<()> {
        let write = || -> io::Result<()> {
            let (folder, name) = dir::entry(&self.path)?;
            let temp = successor(&name);
            // A crash may have left this temporary file behind. Delete the file instead of writing
            // to it, because the file may have a second hard link.
            folder.remove(&temp)?;
            let mut file = folder.create(&temp)?;
            let mut written = || -> io::Result<()> {
                file.write_all(&self.content)?;
                dir::own(&file, self.owner, self.mode)?;
                file.sync_all()?;
                folder.rename(&temp, &folder, &name)?;
                folder.sync()
            };
            written().inspect_err(|_| {
                let _ = folder.remove(&temp);
            })
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// If a crash interrupted a write of this file, removes the temporary file that remained. The next
/// write would also remove the temporary file, so callers need this function only for a file that
/// is not written again.
pub(crate) fn remove_unfinished(path: &Path) -> Result<()> {
    let removed = dir::entry(path).and_then(|(folder, name)| folder.remove(&successor(&name)));
    absent_or(removed)
        .with_context(|| format!("cannot remove the temporary file of {}", path.display()))
}

/// Returns the temporary name of a file's new version. The name is always the same, so that crashes
/// leave at most one such file.
fn successor(name: &OsStr) -> OsString {
    let mut temp = OsString::from(".");
    temp.push(name);
    temp.push(".new");
    temp
}

/// Flushes a folder, so that changes to its entries are durable.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    Dir::open(folder)?.sync()
}

/// The desired state of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DesiredDir {
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

impl DesiredDir {
    /// Creates the desired state of a folder with this mode and owner.
    pub(crate) fn new(path: impl Into<PathBuf>, mode: u32, owner: (u32, u32)) -> Self {
        Self {
            path: path.into(),
            mode,
            owner,
        }
    }

    /// Returns whether the folder exists with this mode and owner. Fails if the entry is not a
    /// folder.
    pub(crate) fn is_current(&self) -> Result<bool> {
        let Some(there) = look(&self.path)? else {
            return Ok(false);
        };
        if there.kind != Kind::Directory {
            bail!(
                "{} is {}, not a folder; move it away",
                self.path.display(),
                there.kind
            );
        }
        Ok(there.mode == self.mode && there.owner == self.owner)
    }

    /// Creates the folder and its parents if they are missing, and sets the folder's mode and
    /// owner. Does not change the folder's content.
    pub(crate) fn make(&self) -> Result<()> {
        let make = || -> io::Result<()> {
            let (parent, name) = entry_in_new(&self.path)?;
            let folder = match parent.look(&name)? {
                None => parent.make(&name)?,
                Some(_) => parent.sub(&name)?,
            };
            folder.set_owner_and_mode(self.owner, self.mode)?;
            folder.sync()?;
            parent.sync()
        };
        make().with_context(|| format!("cannot create the folder {}", self.path.display()))
    }
}

/// Returns a path's parent folder and the path's last component. Creates the folder and its own
/// parents if they are missing.
fn entry_in_new(path: &Path) -> io::Result<(Dir, OsString)> {
    match dir::entry(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let above = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let (parent, name) = entry_in_new(above)?;
    parent.make(&name)?;
    parent.sync()?;
    dir::entry(path)
}

/// Returns the attributes of an entry, or `None` if there is no entry. Does not follow a link at
/// the path's end.
pub(crate) fn look(path: &Path) -> Result<Option<FileAttributes>> {
    let looked = dir::entry(path).and_then(|(folder, name)| folder.look(&name));
    match looked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        looked => {
            looked.with_context(|| format!("cannot read the attributes of {}", path.display()))
        }
    }
}

/// Opens a regular file for reading. Refuses any other kind of entry.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let (folder, name) = dir::target(path)?;
    folder.file(&name)
}

/// Creates a private file for reading and writing. No entry with this name may exist.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let (folder, name) = dir::entry(path)?;
    folder.create(&name)
}

/// Returns the fingerprint of the file at a path. The fingerprint changes when the file is replaced
/// or rewritten.
pub(crate) fn fingerprint(path: &Path) -> Result<FileFingerprint> {
    let looked = dir::target(path).and_then(|(folder, name)| folder.look(&name));
    let there = looked.and_then(|there| there.ok_or_else(|| io::ErrorKind::NotFound.into()));
    Ok(there
        .with_context(|| format!("cannot read the attributes of {}", path.display()))?
        .fingerprint())
}

/// Returns whether an entry exists at a path.
pub(crate) fn exists(path: &Path) -> Result<bool> {
    Ok(look(path)?.is_some())
}

/// Renames a folder or file durably: flushes the folders that contain the two names.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let rename = || -> io::Result<()> {
        let ((old, name), (new, new_name)) = (dir::entry(from)?, dir::entry(to)?);
        old.rename(&name, &new, &new_name)?;
        new.sync()?;
        old.sync()
    };
    rename().with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

/// Durably gives a folder and its entire content this owner and private modes. The caller ensures
/// that only root has access to the folder.
pub(crate) fn chown_and_sync(folder: &Path, owner: (u32, u32)) -> Result<()> {
    let settled = Dir::open(folder).and_then(|folder| folder.chown_and_sync(owner));
    settled.with_context(|| format!("cannot set the owner of {}", folder.display()))
}

/// Deletes a folder with its content, if the folder exists.
pub(crate) fn remove_all(folder: &Path) -> Result<()> {
    let removed = dir::entry(folder).and_then(|(parent, name)| parent.remove_all(&name));
    absent_or(removed).with_context(|| format!("cannot remove {}", folder.display()))
}

/// Deletes a file, if it exists.
pub(crate) fn remove(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let removed = dir::entry(path).and_then(|(folder, name)| folder.remove(&name));
    absent_or(removed).with_context(|| format!("cannot remove {}", path.display()))
}

fn absent_or(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Computes the SHA-256 of a file of any size.
pub(crate) fn digest(path: &Path) -> Result<Sha256> {
    let hash = || -> io::Result<Sha256> {
        let mut file = open(path)?;
        let mut hasher = ring::digest::Context::new(&ring::digest::SHA256);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hasher.finish().as_ref());
        Ok(Sha256::new(bytes))
    };
    hash().with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a whole file.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    whole(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a whole file. Returns `None` if the file does not exist.
pub(crate) fn read_if_there(path: impl AsRef<Path>) -> Result<Option<Vec<u8>>> {
    let path = path.as_ref();
    match whole(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The size limit for a file that is read completely. The files of firstboot that are read
/// completely are smaller than this limit. Without the limit, a very long sparse file could fill
/// the memory.
const WHOLE: u64 = 64 << 20;

fn whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.take(WHOLE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > WHOLE {
        let larger = format!("it is larger than the limit of {WHOLE} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, larger));
    }
    Ok(content)
}

/// Reads a file of unknown origin. Refuses a file that is longer than `limit` bytes, so that the
/// file cannot fill the memory.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut content));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if content.len() as u64 > limit {
        bail!(
            "{} is larger than the limit of {limit} bytes",
            path.display()
        );
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
