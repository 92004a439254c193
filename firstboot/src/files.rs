//! The one door to the disk: whatever is written here is whole and durable, or not there at all.

pub(crate) mod part;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::unistd::{Gid, Uid, chown, fchown};
use recipes::Sha256;
use serde::{Deserialize, Serialize};

/// User and group of etcd, fixed by the kickstart so that the same image fits every node.
pub(crate) const ETCD: (u32, u32) = (recipes::ETCD_ID, recipes::ETCD_ID);
/// root.
pub(crate) const ROOT: (u32, u32) = (0, 0);

/// A file as it shall be.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) path: PathBuf,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

// Contents may be private keys.
impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes, {:04o})", self.path.display(), self.content.len(), self.mode)
    }
}

impl Wanted {
    /// A file of root's that everybody may read.
    pub(crate) fn new(path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: content.into(), mode: 0o644, owner: ROOT }
    }

    /// The same with another mode and owner.
    pub(crate) fn mode(self, mode: u32, owner: (u32, u32)) -> Self {
        Self { mode, owner, ..self }
    }

    /// Whether the disk holds it already, to the byte, the mode and the owner.
    pub(crate) fn stands(&self) -> Result<bool> {
        let Some(meta) = metadata(&self.path)? else { return Ok(false) };
        if !meta.is_file() {
            bail!("{} is not a regular file; move it away", self.path.display());
        }
        let same_meta = meta.mode() & 0o7777 == self.mode && (meta.uid(), meta.gid()) == self.owner;
        Ok(same_meta && meta.len() == self.content.len() as u64 && read(&self.path)? == self.content)
    }

    /// Writes it: a file of another name in the same folder, narrow from its creation on, flushed, then renamed
    /// over the old one, then the folder flushed. XFS would otherwise leave an empty file after a power cut.
    pub(crate) fn write(&self) -> Result<()> {
        let (folder, temp) = beside(&self.path)?;
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
            file.write_all(&self.content)?;
            fchown(&file, Some(Uid::from_raw(self.owner.0)), Some(Gid::from_raw(self.owner.1)))?;
            file.set_permissions(fs::Permissions::from_mode(self.mode))?;
            file.sync_all()?;
            fs::rename(&temp, &self.path)?;
            sync(folder)
        };
        write().with_context(|| format!("cannot write {}", self.path.display())).inspect_err(|_| {
            let _ = fs::remove_file(&temp);
        })
    }
}

/// A name for a file's unfinished successor. It is always the same, so that a crash leaves one at most, which the
/// next attempt overwrites.
fn beside(path: &Path) -> Result<(&Path, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} names no file", path.display());
    };
    Ok((folder, folder.join(format!(".{}.new", name.to_string_lossy()))))
}

/// Makes what was done to a folder's entries durable.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A folder as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

impl Folder {
    /// A folder of this mode and owner.
    pub(crate) fn new(path: impl Into<PathBuf>, mode: u32, owner: (u32, u32)) -> Self {
        Self { path: path.into(), mode, owner }
    }

    /// Whether it is there, with this mode and owner.
    pub(crate) fn stands(&self) -> Result<bool> {
        let Some(meta) = metadata(&self.path)? else { return Ok(false) };
        if !meta.is_dir() {
            bail!("{} is not a folder; move it away", self.path.display());
        }
        Ok(meta.mode() & 0o7777 == self.mode && (meta.uid(), meta.gid()) == self.owner)
    }

    /// Makes it, or mends its mode and owner. What lies in it is not touched.
    pub(crate) fn make(&self) -> Result<()> {
        let make = || -> io::Result<()> {
            if !self.path.is_dir() {
                fs::create_dir_all(&self.path)?;
            }
            chown(&self.path, Some(Uid::from_raw(self.owner.0)), Some(Gid::from_raw(self.owner.1)))?;
            fs::set_permissions(&self.path, fs::Permissions::from_mode(self.mode))?;
            sync(&self.path)?;
            self.path.parent().map_or(Ok(()), sync)
        };
        make().with_context(|| format!("cannot make the folder {}", self.path.display()))
    }
}

/// Which file something is: whoever replaces or rewrites it changes this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file at a path.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let meta = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
        Ok(Self {
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// Whether anything is at a path.
pub(crate) fn exists(path: &Path) -> Result<bool> {
    Ok(metadata(path)?.is_some())
}

/// Gives a folder's new name to it, durably: both folders that hold the names are flushed.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let rename = || -> io::Result<()> {
        fs::rename(from, to)?;
        [from, to].into_iter().filter_map(Path::parent).try_for_each(sync)
    };
    rename().with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

/// Gives a folder and all that lies in it to an owner, narrow, and makes all of it durable.
pub(crate) fn settle(folder: &Path, owner: (u32, u32)) -> Result<()> {
    let own = |path: &Path, mode: u32| -> io::Result<()> {
        let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
        fchown(&file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    };
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in entries.with_context(|| format!("cannot look into {}", folder.display()))? {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            settle(&path, owner)?;
        } else {
            own(&path, 0o600).with_context(|| format!("cannot settle {}", path.display()))?;
        }
    }
    own(folder, 0o700).with_context(|| format!("cannot settle {}", folder.display()))
}

/// Removes a folder with all that lies in it, if it is there.
pub(crate) fn remove_all(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The SHA-256 of a file of any size.
pub(crate) fn digest(path: &Path) -> Result<Sha256> {
    let hash = || -> io::Result<Sha256> {
        let mut file = File::open(path)?;
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

/// What is at a path, without following a link at its end; `None` where nothing is.
fn metadata(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A whole file.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A whole file, or `None` where there is none.
pub(crate) fn read_if_there(path: impl AsRef<Path>) -> Result<Option<Vec<u8>>> {
    let path = path.as_ref();
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A file from outside that must not fill the memory: at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut content));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if content.len() as u64 > limit {
        bail!("{} is larger than {limit} bytes; it is not what it should be", path.display());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> (u32, u32) {
        (Uid::current().as_raw(), Gid::current().as_raw())
    }

    #[test]
    fn what_was_written_stands_and_is_narrow() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = Wanted::new(folder.path().join("key"), "secret").mode(0o600, own());
        assert!(!wanted.stands().unwrap());
        wanted.write().unwrap();
        assert!(wanted.stands().unwrap());
        assert_eq!(fs::metadata(&wanted.path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file is gone");
    }

    #[test]
    fn another_mode_or_content_does_not_stand() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = Wanted::new(folder.path().join("a"), "x").mode(0o640, own());
        wanted.write().unwrap();
        assert!(!wanted.clone().mode(0o600, own()).stands().unwrap());
        assert!(!Wanted { content: b"y".to_vec(), ..wanted }.stands().unwrap());
    }

    #[test]
    fn a_link_in_the_way_is_refused_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let error = Wanted::new(&path, "x").stands().unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }

    #[test]
    fn a_flood_is_cut_off() {
        assert!(read_bounded(Path::new("/dev/zero"), 1000).unwrap_err().to_string().contains("larger than 1000"));
    }
}
