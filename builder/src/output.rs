//! The output folder. A build replaces the output folder completely: it writes the new output next
//! to the old output, and swaps the two folders, in one step if the file system supports a swap. A
//! build that fails, is interrupted or killed, or runs out of disk space leaves the old output
//! unchanged.
//!
//! ```text
//! .NAME.new-PID    the new output of the build PID; 0700, locked until the build ends
//! .NAME.old-PID    the old output, between two renames on file systems that cannot swap folders
//! ```

mod error;
mod existing;
mod interrupt;
mod siblings;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use recipes::EtcdVersion;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

pub(crate) use error::OutputError;
pub(crate) use existing::{Replaceable, enclosing_output};
pub(crate) use interrupt::clean_up_on_interrupt;

use error::io_error;
use existing::{check_replaceable, inspect};
use interrupt::{discard, lock};
use siblings::{parent, recover, replace, serial, sibling};

/// Refuses a path at which an output is not allowed. Returns the version of etcd in the existing
/// output, if the output's manifest states the version.
pub(crate) fn check(
    target: &Path,
    replaceable: &Replaceable,
) -> Result<Option<EtcdVersion>, OutputError> {
    let refused = |(found, remedy)| OutputError::Refused {
        path: target.to_owned(),
        found,
        remedy,
    };
    let found = inspect(target)?;
    check_replaceable(&found, replaceable).map_err(refused)?;
    Ok(found.etcd())
}

/// An output that is being written. An output that is dropped before [`Output::commit`] leaves
/// nothing behind.
#[derive(Debug)]
pub(crate) struct Output {
    target: PathBuf,
    replaceable: Replaceable,
    temp: PathBuf,
    _alive: File,
}

impl Output {
    /// Begins an output that will replace `target`: checks that `target` may be replaced, removes
    /// the temporary folders that interrupted builds left next to `target`, and creates the folder
    /// to write into.
    pub(crate) fn begin(target: &Path, replaceable: Replaceable) -> Result<Self, OutputError> {
        let target = resolve(target)?;
        check(&target, &replaceable)?;
        let _turn = lock_parent(&target)?;
        recover(&target)?;
        check(&target, &replaceable)?;
        let temp = sibling(&target, &format!("new-{}", serial()));
        // Before the folder exists, register it for removal on a signal. A signal between the
        // registration and the creation is harmless, because there is nothing to remove.
        lock().push(temp.clone());
        let result = make(&temp);
        if result.is_err() {
            discard(&temp);
        }
        Ok(Self {
            target,
            replaceable,
            temp,
            _alive: result?,
        })
    }

    /// Returns the folder to write into.
    pub(crate) fn path(&self) -> &Path {
        &self.temp
    }

    /// Syncs the new output, and then replaces the old output with the new output.
    pub(crate) fn commit(self) -> Result<(), OutputError> {
        sync(&self.temp)?;
        // The mode must not depend on the umask, because a web server that runs as another user
        // reads image/ through this folder. The mode of nodes/ excludes other users.
        let permissions = Permissions::from_mode(0o755);
        fs::set_permissions(&self.temp, permissions)
            .map_err(io_error("set its mode", &self.temp))?;
        let _turn = lock_parent(&self.target)?;
        // Check again, because the target may have changed during the build.
        check(&self.target, &self.replaceable)?;
        {
            // The thread that waits for signals also needs this lock, so it cannot remove a folder
            // during the replacement.
            let mut unfinished = lock();
            replace(&self.temp, &self.target)?;
            // From here on, an interrupt must not report that it removed the partial output.
            unfinished.retain(|path| *path != self.temp);
        }
        sync_folder(parent(&self.target))
        // The old output, if it still exists, now has the temporary name, and is removed on drop.
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        discard(&self.temp);
    }
}

/// Returns the path of the output without links, so that the swap replaces the folder and not a
/// link to it.
pub(crate) fn resolve(target: &Path) -> Result<PathBuf, OutputError> {
    let refused = |found: &str, remedy| {
        Err(OutputError::Refused {
            path: target.to_owned(),
            found: found.to_owned(),
            remedy,
        })
    };
    match target.canonicalize() {
        Ok(path) => return Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("inspect it", target)(error)),
    }
    if target.symlink_metadata().is_ok() {
        return refused(
            "it is a dangling symbolic link",
            "remove the link, or create the folder that it points to",
        );
    }
    let Some(name) = target.file_name() else {
        return refused("it does not name a folder", "name a folder");
    };
    match parent(target).canonicalize() {
        Ok(folder) => Ok(folder.join(name)),
        Err(_) => refused(
            "its parent folder does not exist or cannot be resolved",
            "create the parent folder first",
        ),
    }
}

/// Creates the temporary folder, which only the builder's user can access during the build.
fn make(temp: &Path) -> Result<File, OutputError> {
    DirBuilder::new()
        .mode(0o700)
        .create(temp)
        .map_err(io_error("create it", temp))?;
    fs::set_permissions(temp, Permissions::from_mode(0o700))
        .map_err(io_error("set its mode", temp))?;
    let alive = File::open(temp).map_err(io_error("open it", temp))?;
    match rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive) {
        // NFS cannot lock folders. On NFS, only the process number shows whether a build is still
        // running.
        Ok(()) | Err(Errno::BADF | Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS) => Ok(alive),
        Err(error) => Err(io_error("lock it", temp)(error.into())),
    }
}

/// Waits until no other build begins or commits an output next to the target, because the renames
/// of two builds must not interleave.
fn lock_parent(target: &Path) -> Result<File, OutputError> {
    let folder = parent(target);
    let file = File::open(folder).map_err(io_error("open it", folder))?;
    match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
        Ok(()) | Err(Errno::BADF | Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS) => Ok(file),
        Err(error) => Err(io_error("lock it", folder)(error.into())),
    }
}

/// Syncs a folder and everything below it.
fn sync(folder: &Path) -> Result<(), OutputError> {
    for entry in fs::read_dir(folder).map_err(io_error("list it", folder))? {
        let entry = entry.map_err(io_error("list it", folder))?;
        let kind = entry
            .file_type()
            .map_err(io_error("inspect it", &entry.path()))?;
        if kind.is_dir() {
            sync(&entry.path())?;
        } else if kind.is_file() {
            sync_folder(&entry.path())?;
        }
    }
    sync_folder(folder)
}

fn sync_folder(path: &Path) -> Result<(), OutputError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io_error("write it to the disk", path))
}

/// Returns the default PKI folder, `out.pki` next to `out`. The name differs for each output, so
/// that two outputs in the same folder do not share a PKI.
pub(crate) fn default_pki(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".pki");
    out.with_file_name(name)
}

#[cfg(test)]
mod tests;
