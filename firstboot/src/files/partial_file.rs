//! A file that takes long to write: it grows under a temporary name and gets its real one when it is whole.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::about::About;
use super::dir::{self, Dir};
use crate::exit::not_ready;

/// The unfinished file. It is gone when this is dropped; what a crash left behind, the next one here removes.
#[derive(Debug)]
pub(crate) struct PartialFile {
    folder: Dir,
    name: OsString,
    path: PathBuf,
    /// From then on another may use the name.
    gone: bool,
    /// Locked, so that a second one can tell a file that grows from one that was left behind.
    file: Flock<File>,
}

impl PartialFile {
    /// Begins one in a folder, as `.NAME.part`.
    pub(crate) fn begin(folder: &Path, name: &str) -> Result<Self> {
        let name = OsString::from(format!(".{name}.part"));
        let path = folder.join(&name);
        let begin = || -> Result<(Dir, Flock<File>)> {
            let folder = Dir::open(folder)?;
            // Bounded: each turn that does not end here saw another process come or go.
            for _ in 0..10 {
                if let Some(file) = attempt(&folder, &name)? {
                    return Ok((folder, file));
                }
            }
            bail!("it comes and goes: who else writes there?")
        };
        let (folder, file) = begin().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { folder, name, path, gone: false, file })
    }

    /// The file, to be written and read.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Where it grows. For messages only.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, durably, if nothing has that name. Its content must have been flushed before.
    pub(crate) fn commit(mut self, target: &Path) -> Result<()> {
        // A link and not a rename: it never replaces, on any kernel (renameat2 is not whole in 3.10).
        let mut link = || -> io::Result<()> {
            let (folder, name) = dir::entry(target)?;
            self.folder.link(&self.name, &folder, &name)?;
            self.folder.remove(&self.name)?;
            self.gone = true;
            folder.sync()
        };
        link().with_context(|| format!("cannot name it {}", target.display()))
    }
}

/// One try to make the file, or to remove one that was left behind.
fn attempt(folder: &Dir, name: &OsString) -> Result<Option<Flock<File>>> {
    let (file, fresh) = match folder.create(name) {
        Ok(file) => (file, true),
        // It is never written on: where a crash came between two names of one file it is a snapshot by now.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match folder.file(name) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        },
        Err(error) => return Err(error.into()),
    };
    let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
        return Err(not_ready("another firstboot is writing it"));
    };
    let own = About::of(&nix::sys::stat::fstat(&*file)?);
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
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn it_gets_its_name_when_it_is_whole_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.db");
        let part = PartialFile::begin(folder.path(), "x").unwrap();
        part.file().write_all(b"one").unwrap();
        assert_eq!(names(folder.path()), [".x.part"]);
        part.commit(&target).unwrap();
        assert_eq!(names(folder.path()), ["a.db"]);
        let second = PartialFile::begin(folder.path(), "x").unwrap();
        assert!(second.commit(&target).is_err());
        assert_eq!((names(folder.path()), fs::read(&target).unwrap()), (vec!["a.db".to_owned()], b"one".to_vec()));
    }

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let part = PartialFile::begin(folder.path(), "x").unwrap();
        let error = format!("{:#}", PartialFile::begin(folder.path(), "x").unwrap_err());
        assert!(error.contains("another firstboot is writing"), "{error}");
        assert!(part.path().exists());
        drop(part);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_a_crash_left_is_removed_and_never_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let (stale, good) = (folder.path().join(".x.part"), folder.path().join("good.db"));
        fs::write(&good, "a snapshot").unwrap();
        fs::hard_link(&good, &stale).unwrap();
        let part = PartialFile::begin(folder.path(), "x").unwrap();
        part.file().write_all(b"other").unwrap();
        assert_eq!(fs::read(&good).unwrap(), b"a snapshot");
    }
}
