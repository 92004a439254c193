//! Writes a file that takes a long time to complete. The file grows under a temporary name, and
//! gets its final name when it is complete.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::attributes::FileAttributes;
use super::dir::{self, Dir};
use crate::exit::not_ready;
use crate::reason::ReasonId;

/// An unfinished file. Dropping this value deletes the file. A file left behind by a crash is
/// deleted when a partial file with the same name is created in the folder again.
#[derive(Debug)]
pub(crate) struct PartialFile {
    folder: Dir,
    name: OsString,
    path: PathBuf,
    /// Whether the temporary name no longer exists.
    gone: bool,
    /// The file, with a lock by which another process distinguishes a growing file from a file that
    /// a crash left behind.
    file: Flock<File>,
}

impl PartialFile {
    /// Creates `.NAME.part` in a folder. Fails if another process is writing this file.
    pub(crate) fn begin(folder: &Path, name: &str) -> Result<Self> {
        let name = OsString::from(format!(".{name}.part"));
        let path = folder.join(&name);
        let begin = || -> Result<(Dir, Flock<File>)> {
            let folder = Dir::open(folder)?;
            // Another attempt is necessary in two cases: this attempt removed a file that a crash
            // had left behind, or another process created or deleted the file meanwhile. A few
            // attempts are enough for both cases.
            for _ in 0..10 {
                if let Some(file) = attempt(&folder, &name)? {
                    return Ok((folder, file));
                }
            }
            bail!("another process keeps creating and deleting it")
        };
        let (folder, file) = begin().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            folder,
            name,
            path,
            gone: false,
            file,
        })
    }

    /// Returns the file, for writing and reading.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Returns the temporary path of the file, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Durably gives the file its final name. Fails if another file already has that name. The
    /// caller must have flushed the content.
    pub(crate) fn commit(mut self, target: &Path) -> Result<()> {
        // This function uses link(2) and not rename(2), because link(2) never replaces a file.
        // renameat2 is not an alternative: Red Hat backported the call from Linux 3.15, but not
        // every file system in CentOS 7's kernel supports the call's flags (fs/namei.c,
        // vfs_rename).
        let mut link = || -> io::Result<()> {
            let (folder, name) = dir::entry(target)?;
            self.folder.link(&self.name, &folder, &name)?;
            self.folder.remove(&self.name)?;
            self.gone = true;
            folder.sync()
        };
        link().with_context(|| format!("cannot create {}", target.display()))
    }
}

/// Attempts once to create the file, or to delete a file that a crash left behind. Returns `None`
/// if another attempt is necessary.
fn attempt(folder: &Dir, name: &OsString) -> Result<Option<Flock<File>>> {
    let (file, fresh) = match folder.create(name) {
        Ok(file) => (file, true),
        // Do not write to the existing file. If a crash occurred between link and unlink, the
        // existing file is also the finished file under its final name.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match folder.file(name) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        },
        Err(error) => return Err(error.into()),
    };
    let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
        return Err(not_ready(
            ReasonId::FirstbootBusy.because("another firstboot is writing this file"),
        ));
    };
    let own = FileAttributes::of(&nix::sys::stat::fstat(&*file)?);
    let still_there = folder.look(name)?.is_some_and(|there| there.is_same(&own));
    match (still_there, fresh) {
        (true, true) => Ok(Some(file)),
        (true, false) => Ok(folder.remove(name).map(|()| None)?),
        (false, _) => Ok(None),
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.gone {
            let _ = self.folder.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_complete_file_gets_its_name_and_replaces_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.db");
        let part = PartialFile::begin(folder.path(), "x").unwrap();
        part.file().write_all(b"one").unwrap();
        assert_eq!(names(folder.path()), [".x.part"]);
        part.commit(&target).unwrap();
        assert_eq!(names(folder.path()), ["a.db"]);
        let second = PartialFile::begin(folder.path(), "x").unwrap();
        assert!(second.commit(&target).is_err());
        assert_eq!(
            (names(folder.path()), fs::read(&target).unwrap()),
            (vec!["a.db".to_owned()], b"one".to_vec())
        );
    }

    #[test]
    fn only_one_process_writes_a_file_and_no_part_remains() {
        let folder = tempfile::tempdir().unwrap();
        let part = PartialFile::begin(folder.path(), "x").unwrap();
        let error = format!("{:#}", PartialFile::begin(folder.path(), "x").unwrap_err());
        assert!(error.contains("another firstboot is writing"), "{error}");
        assert!(part.path().exists());
        drop(part);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_partial_file_left_by_a_crash_is_deleted_and_never_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (stale, good) = (folder.path().join(".x.part"), folder.path().join("good.db"));
        fs::write(&good, "a snapshot").unwrap();
        fs::hard_link(&good, &stale).unwrap();
        let part = PartialFile::begin(folder.path(), "x").unwrap();
        part.file().write_all(b"other").unwrap();
        assert_eq!(fs::read(&good).unwrap(), b"a snapshot");
    }
}
