//! The output folder, replaced as a whole: what a build makes is written beside it and takes its place in one
//! step. A build that fails, is interrupted or killed, or finds the disk full leaves the old output as it was.
//!
//! ```text
//! .NAME.new-PID    what the build PID is writing; 0700, locked as long as it lives
//! .NAME.old-PID    the old output, for the moment between two renames on file systems that cannot exchange
//! ```

mod beside;
mod interrupt;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

pub(crate) use interrupt::clean_up_on_interrupt;

use beside::{recover, replace};
use interrupt::{discard, lock};

/// What lies at the top of an output. A folder with anything else in it is not replaced: what a person has
/// put there, a PKI above all, would be gone.
const OURS: [&str; 3] = ["image", "nodes", "pxe"];

/// Why the output cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// The system refused an operation.
    #[error("{path}: cannot {doing}: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder is not to be replaced.
    #[error("{path}: {found}; {remedy}", path = path.display())]
    Refused {
        /// The folder.
        path: PathBuf,
        /// Why.
        found: String,
        /// What to do about it.
        remedy: &'static str,
    },
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError::Io { doing, path, source }
}

/// What was found where the output shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Nothing,
    Root,
    File,
    /// A folder: the names in it, and whether a manifest is where an output has it.
    Folder(Vec<String>, bool),
}

fn judge(found: &Found) -> Result<(), (String, &'static str)> {
    match found {
        Found::Nothing => Ok(()),
        Found::Root => Err(("the root of the file system is no place for an output".to_owned(), "name a folder")),
        Found::File => Err(("it is a file, expected a folder".to_owned(), "name another folder, or remove it")),
        Found::Folder(names, _) if names.is_empty() => Ok(()),
        Found::Folder(_, false) => Err((
            "it is not empty, and no output of an earlier build (no image/manifest.json in it)".to_owned(),
            "name a new or an empty folder",
        )),
        Found::Folder(names, true) => match names.iter().find(|name| !OURS.contains(&name.as_str())) {
            None => Ok(()),
            Some(strange) => Err((
                format!("`{strange}` in it is not the builder's, and the folder is replaced as a whole"),
                "move it to another place, or name another folder",
            )),
        },
    }
}

fn look(target: &Path) -> Result<Found, OutputError> {
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(io_error("look at it", target)(error)),
        Ok(_) if target.parent().is_none() => Ok(Found::Root),
        Ok(found) if !found.is_dir() => Ok(Found::File),
        Ok(_) => {
            let entries = fs::read_dir(target).map_err(io_error("list it", target))?;
            let names: Result<Vec<_>, _> =
                entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect();
            let mut names = names.map_err(io_error("list it", target))?;
            names.sort();
            Ok(Found::Folder(names, target.join("image/manifest.json").is_file()))
        }
    }
}

/// Where an output named so will lie; an error where one may not lie.
pub(crate) fn check(target: &Path) -> Result<PathBuf, OutputError> {
    let target = resolve(target)?;
    may_replace(&target)?;
    Ok(target)
}

fn may_replace(target: &Path) -> Result<(), OutputError> {
    let refused = |(found, remedy)| OutputError::Refused { path: target.to_owned(), found, remedy };
    judge(&look(target)?).map_err(refused)
}

/// An output that is being written. Dropped before [`Output::commit`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Output {
    target: PathBuf,
    temp: PathBuf,
    _alive: File,
}

impl Output {
    /// Begins an output that shall take the place of `target`: checks that it may, removes what dead builds
    /// have left beside it, and makes the folder to write into.
    pub(crate) fn begin(target: &Path) -> Result<Self, OutputError> {
        let target = check(target)?;
        let _turn = turn(&target)?;
        recover(&target)?;
        may_replace(&target)?;
        let temp = sibling(&target, &format!("new-{}", serial()));
        // Registered before it exists: a signal between the two finds nothing to remove, which is no harm.
        lock().push(temp.clone());
        let result = make(&temp);
        if result.is_err() {
            discard(&temp);
        }
        Ok(Self { target, temp, _alive: result? })
    }

    /// The folder to write into.
    pub(crate) fn path(&self) -> &Path {
        &self.temp
    }

    /// Puts everything written on the disk, then in the place of the old output, in one step.
    pub(crate) fn commit(self) -> Result<(), OutputError> {
        sync(&self.temp)?;
        // Whatever the umask: a web server of another user reaches image/ through it, and nodes/ keeps everyone else out.
        let permissions = Permissions::from_mode(0o755);
        fs::set_permissions(&self.temp, permissions).map_err(io_error("set its mode", &self.temp))?;
        let _turn = turn(&self.target)?;
        // Once more: the build took its time, and somebody may have put something there.
        may_replace(&self.target)?;
        {
            // A signal waits here, so that what it removes is always the one that is not in place.
            let _no_signal = lock();
            replace(&self.temp, &self.target)?;
        }
        sync_folder(parent(&self.target))
        // Where there was an old output it now has the temporary name, and dropping removes it.
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        discard(&self.temp);
    }
}

/// The place itself, with its links followed, so that what is exchanged is the folder and not a link to it.
fn resolve(target: &Path) -> Result<PathBuf, OutputError> {
    let refused =
        |found: &str, remedy| Err(OutputError::Refused { path: target.to_owned(), found: found.to_owned(), remedy });
    match target.canonicalize() {
        Ok(path) => return Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("look at it", target)(error)),
    }
    if target.symlink_metadata().is_ok() {
        return refused("it is a link to nothing", "remove the link, or make the folder that it names");
    }
    let Some(name) = target.file_name() else {
        return refused("it does not name a folder", "name one");
    };
    match parent(target).canonicalize() {
        Ok(folder) => Ok(folder.join(name)),
        Err(_) => refused("the folder that should hold it does not exist", "create that one first"),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sibling(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    parent(target).join(format!(".{name}.{suffix}"))
}

/// A name for this build's folder: the process, for people, and a count, for tests that build in threads.
fn serial() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    match COUNT.fetch_add(1, Ordering::Relaxed) {
        0 => std::process::id().to_string(),
        count => format!("{}-{count}", std::process::id()),
    }
}

/// Makes the folder, for the builder alone as long as it is written.
fn make(temp: &Path) -> Result<File, OutputError> {
    DirBuilder::new().mode(0o700).create(temp).map_err(io_error("create it", temp))?;
    fs::set_permissions(temp, Permissions::from_mode(0o700)).map_err(io_error("set its mode", temp))?;
    let alive = File::open(temp).map_err(io_error("open it", temp))?;
    match rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive) {
        // NFS locks no folders. There the process number alone has to tell.
        Ok(()) | Err(Errno::BADF | Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS) => Ok(alive),
        Err(error) => Err(io_error("lock it", temp)(error.into())),
    }
}

/// One build at a time begins or ends beside a target: renames must not cross.
fn turn(target: &Path) -> Result<File, OutputError> {
    let folder = parent(target);
    let file = File::open(folder).map_err(io_error("open it", folder))?;
    match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
        Ok(()) | Err(Errno::BADF | Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS) => Ok(file),
        Err(error) => Err(io_error("lock it", folder)(error.into())),
    }
}

/// Everything below a folder, written to the disk.
fn sync(folder: &Path) -> Result<(), OutputError> {
    for entry in fs::read_dir(folder).map_err(io_error("list it", folder))? {
        let entry = entry.map_err(io_error("list it", folder))?;
        let kind = entry.file_type().map_err(io_error("look at it", &entry.path()))?;
        if kind.is_dir() {
            sync(&entry.path())?;
        } else if kind.is_file() {
            sync_folder(&entry.path())?;
        }
    }
    sync_folder(folder)
}

fn sync_folder(path: &Path) -> Result<(), OutputError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_error("write it to the disk", path))
}

#[cfg(test)]
mod tests;
