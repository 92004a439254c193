//! Creates the empty directory for etcd's first start, because etcd cannot write to the root of its
//! volume. From the directory's identity, firstboot also detects whether the directory was deleted
//! or replaced before etcd had created a WAL.

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

/// Creates etcd's data directory, and writes its identity to the journal. Does nothing if the
/// journal records etcd's data, or if the directory is the one that firstboot created.
pub(crate) fn create_data_dir(journal: &mut Journal) -> Result<()> {
    let state = NodeState::of(journal);
    if state.data.is_some() {
        return Ok(());
    }
    let path = Path::new(paths::DATA);
    let found = open(path).with_context(|| format!("cannot read {}", path.display()))?;
    if let (Some(made), Some((_, there))) = (&state.created, &found)
        && made.is_same(there)
    {
        return Ok(());
    }
    if contents(path)? != Contents::Empty {
        bail!(
            "a bug: according to the journal, etcd has no data, but {} is not empty",
            path.display()
        );
    }
    let directory = make(path).with_context(|| format!("cannot create {}", path.display()))?;
    selinux::one(path)
        .iter()
        .try_for_each(crate::change::Change::apply)?;
    journal.add(Event::DataDirCreated { directory })
}

fn open(path: &Path) -> io::Result<Option<(Dir, Inode)>> {
    match Dir::open(path) {
        Ok(dir) => Inode::of(&dir).map(|inode| Some((dir, inode))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates the directory. If the directory exists, removes it first, because its origin is unknown.
fn make(path: &Path) -> io::Result<Inode> {
    let (volume, name) = (
        path.parent().unwrap_or(path),
        path.file_name().unwrap_or(OsStr::new("data")),
    );
    let volume = Dir::open(volume)?;
    volume.remove_all(name)?;
    let data = volume.make(name)?;
    data.set_owner_and_mode(ETCD, 0o700)?;
    data.sync()?;
    volume.sync()?;
    Inode::of(&data)
}
