//! The PKI folder on disk. Files are written durably, with the most restrictive mode that works.
//! [`put`] refuses to overwrite a file. [`replace`] overwrites a file, but first keeps the old file
//! under another name.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tempfile::NamedTempFile;
use time::OffsetDateTime;

use super::PkiError;
use super::certificate::utc;
use crate::text_file;

/// The prefix of the names of files that are still being written. The next build removes a file
/// that a killed build left with this prefix.
const UNFINISHED: &str = ".unfinished-";

/// The maximum number of bytes to read from a file in a PKI folder.
const LIMIT: u64 = 1 << 20;

/// The mode of a file that only its owner can read, such as a private key.
pub(super) const SECRET: u32 = 0o600;

/// The mode of a file that every user can read, such as a node's certificate.
pub(super) const PUBLIC: u32 = 0o644;

/// The mode bits with which users other than the owner can write to a file or folder.
pub(super) const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Creates a folder that only its owner can access, if it does not exist. An existing folder keeps
/// its mode, because it may be shared on purpose. A folder that other users can write to is
/// refused, because these users could replace the authority.
pub(super) fn folder(path: &Path) -> Result<(), PkiError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            // Restore the bits that the umask removed, because the builder cannot use a folder with
            // mode 0.
            fs::set_permissions(path, Permissions::from_mode(0o700))
                .map_err(PkiError::io("set its mode", path))?;
            sync_parent(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::metadata(path).map_err(PkiError::io("inspect it", path))?;
            if !found.is_dir() {
                return Err(PkiError::wrong(
                    path,
                    "it is a file, but a folder is expected",
                    "name another path",
                ));
            }
            check_mode(path, WRITABLE_BY_OTHERS)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PkiError::wrong(
            path,
            "its parent folder does not exist",
            "create the parent folder first",
        )),
        Err(error) => Err(PkiError::io("create it", path)(error)),
    }
}

/// Refuses a file or folder whose mode has any of the `forbidden` bits.
pub(super) fn check_mode(path: &Path, forbidden: u32) -> Result<(), PkiError> {
    match excessive_mode(path, forbidden)? {
        None => Ok(()),
        Some(mode) => Err(PkiError::wrong(
            path,
            format!("its mode is {mode:04o}, which gives access to users other than the owner"),
            format!(
                "run `chmod {:o}` on it, and replace it if others may have used it",
                mode & !forbidden
            ),
        )),
    }
}

/// Returns the mode of a file, if it has any of the `forbidden` bits.
pub(super) fn excessive_mode(path: &Path, forbidden: u32) -> Result<Option<u32>, PkiError> {
    let mode = fs::metadata(path)
        .map_err(PkiError::io("inspect it", path))?
        .permissions()
        .mode()
        & 0o7777;
    Ok((mode & forbidden != 0).then_some(mode))
}

/// Writes a new file durably. Either the file appears complete, with exactly this mode under any
/// umask, or it does not appear. An existing file is an error, because an overwritten key is lost
/// permanently.
pub(super) fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let file = unfinished(path, bytes, mode)?;
    file.persist_noclobber(path)
        .map_err(|error| PkiError::io("create it", path)(error.error))?;
    sync_parent(path)
}

/// Writes a file like [`put`], but replaces an existing file without keeping it.
pub(super) fn overwrite(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let file = unfinished(path, bytes, mode)?;
    file.persist(path)
        .map_err(|error| PkiError::io("replace it", path)(error.error))?;
    sync_parent(path)
}

/// Writes a file like [`put`], but replaces an existing file, which is kept under a name that
/// contains the current time. Returns the name of the kept file. At every moment, `path` is either
/// the complete old file or the complete new file.
pub(super) fn replace(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    now: OffsetDateTime,
) -> Result<PathBuf, PkiError> {
    let file = unfinished(path, bytes, mode)?;
    let kept = link_to_archive(path, now)?;
    file.persist(path)
        .map_err(|error| PkiError::io("replace it", path)(error.error))?;
    sync_parent(path)?;
    Ok(kept)
}

/// Replaces a file like [`replace`], but moves the existing file `next` to `path` instead of
/// writing a new file.
pub(super) fn supersede(
    path: &Path,
    next: &Path,
    now: OffsetDateTime,
) -> Result<PathBuf, PkiError> {
    let kept = link_to_archive(path, now)?;
    rename(next, path)?;
    Ok(kept)
}

/// Durably renames a file, and replaces an existing file without keeping it.
pub(super) fn rename(path: &Path, new: &Path) -> Result<(), PkiError> {
    fs::rename(path, new).map_err(PkiError::io("replace it", new))?;
    sync_parent(new)
}

/// Removes a file, if it exists.
pub(super) fn remove(path: &Path) -> Result<(), PkiError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PkiError::io("remove it", path)(error))
        }
        _ => Ok(()),
    }
}

/// Durably creates a second name for a file, and replaces any file that already has the second
/// name.
pub(super) fn link(path: &Path, second: &Path) -> Result<(), PkiError> {
    match fs::remove_file(second) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(PkiError::io("remove it", second)(error));
        }
        _ => fs::hard_link(path, second).map_err(PkiError::io("create it", second))?,
    }
    sync_parent(second)
}

fn link_to_archive(path: &Path, now: OffsetDateTime) -> Result<PathBuf, PkiError> {
    let aside = archive_path(path, now);
    fs::hard_link(path, &aside).map_err(PkiError::io("keep it", path))?;
    Ok(aside)
}

/// Writes and syncs the new contents of a file under a temporary name. If the build is killed, the
/// next build removes the temporary file.
fn unfinished(path: &Path, bytes: &[u8], mode: u32) -> Result<NamedTempFile, PkiError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(Permissions::from_mode(SECRET))
        .tempfile_in(parent)
        .map_err(PkiError::io("create it", path))?;
    file.write_all(bytes)
        .map_err(PkiError::io("write it", path))?;
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))
        .map_err(PkiError::io("set its mode", path))?;
    file.as_file()
        .sync_all()
        .map_err(PkiError::io("write it to the disk", path))?;
    Ok(file)
}

/// Archives a file or a folder under a name that contains the current time, and returns the new name.
pub(super) fn archive(path: &Path, now: OffsetDateTime) -> Result<PathBuf, PkiError> {
    let aside = archive_path(path, now);
    fs::rename(path, &aside).map_err(PkiError::io("move it aside", path))?;
    sync_parent(path)?;
    Ok(aside)
}

fn archive_path(path: &Path, now: OffsetDateTime) -> PathBuf {
    let timestamp = utc(now).replace(['-', ':'], "");
    let name = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".old-{timestamp}{suffix}"));
        PathBuf::from(name)
    };
    // The lock prevents other builders from writing here, so the name stays free until the caller
    // uses it.
    let mut aside = name(String::new());
    let mut count = 1;
    while aside.symlink_metadata().is_ok() {
        count += 1;
        aside = name(format!("-{count}"));
    }
    aside
}

/// Reads a text file. Returns `None` if the file does not exist.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    let read = text_file::bytes(path, LIMIT).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
    });
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(PkiError::io("read it", path)(error)),
        },
    }
}

/// Returns whether a file or folder exists. If the path cannot be inspected, the function returns
/// an error, because the remedy for a missing file would be wrong.
pub(super) fn exists(path: &Path) -> Result<bool, PkiError> {
    match path.try_exists() {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        found => found.map_err(PkiError::io("read it", path)),
    }
}

/// Reads a private key. Returns `None` if the file does not exist. A key that others can access is
/// refused before it is read.
pub(super) fn read_secret(path: &Path) -> Result<Option<String>, PkiError> {
    if !exists(path)? {
        return Ok(None);
    }
    check_mode(path, 0o077)?;
    read(path)
}

/// Lists the paths in a folder, sorted. The list is empty if the folder does not exist.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, PkiError> {
    if !exists(folder)? || !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = folder.read_dir().map_err(PkiError::io("list it", folder))?;
    let mut out = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(PkiError::io("list it", folder))?;
    out.sort();
    Ok(out)
}

/// Removes the partial files that a killed build left in a folder.
pub(super) fn remove_partial_files(folder: &Path) -> Result<(), PkiError> {
    for entry in fs::read_dir(folder).map_err(PkiError::io("list it", folder))? {
        let entry = entry.map_err(PkiError::io("list it", folder))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED.as_bytes())
        {
            fs::remove_file(entry.path()).map_err(PkiError::io("remove it", &entry.path()))?;
        }
    }
    Ok(())
}

fn sync_parent(path: &Path) -> Result<(), PkiError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(PkiError::io("write it to the disk", parent))
}

/// Refuses a folder that is missing, or that is not a PKI folder.
pub(super) fn check_existing(dir: &Path) -> Result<(), PkiError> {
    if !exists(&dir.join("ca.crt"))? {
        return Err(PkiError::wrong(
            dir,
            "it has no ca.crt",
            "name a folder that `builder build --pki` has created",
        ));
    }
    Ok(())
}

/// Locks a folder that a build has created, and removes its partial files.
pub(super) fn existing(dir: &Path) -> Result<Lock, PkiError> {
    check_existing(dir)?;
    let lock = Lock::wait_for(dir, LOCK_TIMEOUT)?;
    remove_partial_files(dir)?;
    Ok(lock)
}

/// A lock that keeps other builds out of the folder until the value is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Waits at most `patience` for the folder's lock.
    pub(super) fn wait_for(folder: &Path, patience: Duration) -> Result<Self, PkiError> {
        let path = folder.join(".lock");
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(SECRET)
            .open(&path)
            .map_err(PkiError::io("open it", &path))?;
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::WOULDBLOCK) if begun.elapsed() >= patience => {
                    return Err(PkiError::Busy {
                        path,
                        waited: patience.as_secs(),
                    });
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(PkiError::io("lock it", &path)(error.into())),
            }
        }
    }
}

/// The maximum time that a program waits for another program to release the folder. Issuing
/// certificates takes only milliseconds.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum time that a program waits for the folder while a node waits for the program's
/// answer. The sum of this time and the server's `SIGNER_TIMEOUT` is less than the 20 s that
/// firstboot waits for the answer.
pub(super) const ANSWER_LOCK_TIMEOUT: Duration = Duration::from_secs(9);
