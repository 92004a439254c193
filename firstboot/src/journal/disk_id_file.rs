//! The mark on etcd's volume: whether it is the volume that was there before.

use std::path::Path;

use anyhow::Result;

use crate::domain::DiskId;
use crate::files::{self, DesiredFile, Kind, ROOT};
use crate::paths;

/// Whether the volume is the one of the journal's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskIdFile {
    /// It is.
    Matches,
    /// It was marked in another life.
    Differs,
    /// It bears no mark.
    Missing,
}

/// Whose life the volume is marked with.
pub(crate) fn disk_id_file(disk_id: Option<DiskId>) -> Result<DiskIdFile> {
    let path = Path::new(paths::LIFE);
    // Earlier versions kept the mark where etcd could write. Only root's is one.
    let ours = files::look(path)?.filter(|there| there.kind == Kind::File && there.owner == ROOT && there.links == 1);
    let mark = if ours.is_some() { files::read_if_there(path)? } else { None };
    Ok(match mark {
        None => DiskIdFile::Missing,
        Some(mark) => match (String::from_utf8_lossy(&mark).trim().parse::<DiskId>(), disk_id) {
            (Ok(mark), Some(disk_id)) if mark == disk_id => DiskIdFile::Matches,
            _ => DiskIdFile::Differs,
        },
    })
}

/// Marks the volume with a life, unless it bears that mark.
pub(crate) fn write_disk_id(disk_id: DiskId) -> Result<()> {
    let mark = DesiredFile::new(paths::LIFE, format!("{disk_id}\n"));
    if disk_id_file(Some(disk_id))? == DiskIdFile::Matches && mark.is_current()? { Ok(()) } else { mark.write() }
}
