//! Handles the temporary folders next to the target: removes what interrupted builds left behind,
//! and moves the new output into place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;

use super::error::{OutputError, io_error};

/// Removes what interrupted builds left behind, and undoes or completes an interrupted replacement.
pub(super) fn recover(target: &Path) -> Result<(), OutputError> {
    let folder = parent(target);
    let [new, old] = ["new-", "old-"].map(|suffix| {
        sibling(target, suffix)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    });
    for entry in fs::read_dir(folder).map_err(io_error("list it", folder))? {
        let entry = entry.map_err(io_error("list it", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if name.starts_with(&old) {
            // If the build was killed between the two renames, the old output is moved back into
            // place. If the build was killed after both renames, the old output is no longer
            // needed.
            if target.symlink_metadata().is_err() {
                fs::rename(&path, target)
                    .map_err(io_error("move the old output back into place", &path))?;
            } else {
                remove(&path)?;
            }
        } else if let Some(pid) = name.strip_prefix(&new)
            && is_dead(&path, pid)
        {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Returns whether the build that created a temporary folder has ended. The lock determines the
/// result, because the process number may belong to another process by now, or may be from another
/// container. If folders cannot be locked, the process number determines the result.
fn is_dead(temp: &Path, pid: &str) -> bool {
    let Ok(file) = File::open(temp) else {
        return false;
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => true,
        Err(Errno::WOULDBLOCK) => false,
        Err(_) => {
            let pid = pid.split('-').next().unwrap_or_default();
            !pid.is_empty() && !Path::new("/proc").join(pid).exists()
        }
    }
}

fn remove(path: &Path) -> Result<(), OutputError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove it", path)(error))
        }
        _ => Ok(()),
    }
}

/// Moves `temp` to `target`. After a successful call, the old `target`, if any, is either at `temp`
/// or removed.
pub(super) fn replace(temp: &Path, target: &Path) -> Result<(), OutputError> {
    let failed = io_error("move the new output into place", target);
    match rustix::fs::renameat_with(CWD, temp, CWD, target, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => fs::rename(temp, target).map_err(failed),
        // NFS, old overlay file systems and some FUSE file systems cannot swap two folders.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => replace_in_two(temp, target),
        Err(Errno::BUSY) => Err(OutputError::Refused {
            path: target.to_owned(),
            found: "it is a mount point, which cannot be replaced".to_owned(),
            remedy: "name a folder inside it",
        }),
        Err(error) => Err(failed(error.into())),
    }
}

/// Replaces `target` like [`replace`], but with two renames. If a build is killed between the two
/// renames, the next build recovers.
pub(super) fn replace_in_two(temp: &Path, target: &Path) -> Result<(), OutputError> {
    let aside = sibling(target, &format!("old-{}", serial()));
    match fs::rename(target, &aside) {
        // The swap can fail although `target` does not exist, because some systems refuse the swap
        // before they look for `target`.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return fs::rename(temp, target)
                .map_err(io_error("move the new output into place", target));
        }
        moved => moved.map_err(io_error("move the old output aside", target))?,
    }
    if let Err(error) = fs::rename(temp, target) {
        fs::rename(&aside, target)
            .map_err(io_error("move the old output back into place", &aside))?;
        return Err(io_error("move the new output into place", target)(error));
    }
    remove(&aside)
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

pub(super) fn sibling(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    parent(target).join(format!(".{name}.{suffix}"))
}

/// Returns a unique suffix for this build's folder: the process number, and a count for tests that
/// build in threads.
pub(super) fn serial() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    match COUNT.fetch_add(1, Ordering::Relaxed) {
        0 => std::process::id().to_string(),
        count => format!("{}-{count}", std::process::id()),
    }
}
