//! The empty directory for etcd's first start. firstboot makes it, since etcd cannot write in the root of its volume; and by
//! it a data directory that somebody removed or exchanged before there was a log is told from one that etcd left.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::inode::Inode;
use super::observe::{Contents, contents};
use crate::files::{Dir, ETCD};
use crate::journal::{Event, Journal, NodeState};
use crate::paths;
use crate::steps::selinux;

/// Sees to it that etcd's data directory is there, and writes down which one it is. Where etcd has data already, or the
/// directory is the one that was made, nothing is done.
pub(crate) fn prepare(journal: &mut Journal) -> Result<()> {
    let past = NodeState::of(journal);
    if past.data.is_some() {
        return Ok(());
    }
    let path = Path::new(paths::DATA);
    let found = open(path).with_context(|| format!("cannot look at {}", path.display()))?;
    if let (Some(made), Some((_, there))) = (&past.made, &found)
        && made.is_same(there)
    {
        return Ok(());
    }
    if contents(path)? != Contents::Empty {
        bail!("a bug: etcd was to begin, and {} is not empty", path.display());
    }
    let directory = make(path).with_context(|| format!("cannot make {}", path.display()))?;
    selinux::one(path).iter().try_for_each(crate::change::Change::apply)?;
    journal.add(Event::DataMade { directory })
}

fn open(path: &Path) -> io::Result<Option<(Dir, Inode)>> {
    match Dir::open(path) {
        Ok(dir) => Inode::of(&dir).map(|inode| Some((dir, inode))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes it again: one that is there is of unknown origin, and empty.
fn make(path: &Path) -> io::Result<Inode> {
    let (volume, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or(OsStr::new("data")));
    let volume = Dir::open(volume)?;
    volume.remove_all(name)?;
    let data = volume.make(name)?;
    data.own(ETCD, 0o700)?;
    data.sync()?;
    volume.sync()?;
    Inode::of(&data)
}
