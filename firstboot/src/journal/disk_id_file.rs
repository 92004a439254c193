//! Reads and writes the file that contains the disk id on etcd's volume. firstboot recognises the
//! volume by this file.

use std::path::Path;

use anyhow::Result;

use super::event::Event;
use super::file::Journal;
use crate::domain::DiskId;
use crate::files::{self, DesiredFile, Kind, ROOT};
use crate::paths;

/// The result of comparing the file with the journal's disk id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskIdMatch {
    /// The file contains the same id.
    Matches,
    /// The file does not contain the journal's id.
    Differs,
    /// The file is missing, is not a regular file, does not belong to root, or has a second hard
    /// link.
    Missing,
}

/// Compares the file on the volume with this disk id.
pub(crate) fn compare_disk_id_file(disk_id: Option<DiskId>) -> Result<DiskIdMatch> {
    let path = Path::new(paths::DISK_ID);
    // In earlier versions, etcd could write to the folder of this file, so only a file that belongs
    // to root counts.
    let ours = files::look(path)?
        .filter(|there| there.kind == Kind::File && there.owner == ROOT && there.links == 1);
    let found = if ours.is_some() {
        files::read_if_there(path)?
    } else {
        None
    };
    Ok(match found {
        None => DiskIdMatch::Missing,
        Some(bytes) => match (
            String::from_utf8_lossy(&bytes).trim().parse::<DiskId>(),
            disk_id,
        ) {
            (Ok(found), Some(disk_id)) if found == disk_id => DiskIdMatch::Matches,
            _ => DiskIdMatch::Differs,
        },
    })
}

/// Generates a new disk id, and records it in the journal and in the file.
pub(crate) fn init_disk_id(journal: &mut Journal) -> Result<DiskId> {
    let disk_id = DiskId::draw()?;
    journal.add(Event::DiskIdDrawn { disk_id })?;
    write_disk_id(disk_id)?;
    Ok(disk_id)
}

/// Writes the file, unless it already contains this id and has the right mode and owner.
pub(crate) fn write_disk_id(disk_id: DiskId) -> Result<()> {
    let file = DesiredFile::new(paths::DISK_ID, format!("{disk_id}\n"));
    if compare_disk_id_file(Some(disk_id))? == DiskIdMatch::Matches && file.is_current()? {
        Ok(())
    } else {
        file.write()
    }
}
