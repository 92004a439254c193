//! Reads the node document from the disks with a given label.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::disk;
use super::document::FoundDocument;
use super::source::SourceResult;

/// Returns the document in the file `path` on the disks. If several disks contain a document, all
/// documents must be the same. For a disk without that file, calls `instead`, which returns a
/// description of the disk.
pub(super) fn read(
    disks: &[PathBuf],
    path: &str,
    instead: impl Fn(&Path) -> Result<String>,
) -> Result<SourceResult> {
    let mut found: Option<FoundDocument> = None;
    let mut others = Vec::new();
    for disk in disks {
        let origin = format!("{path} on the disk {}", disk.display());
        let bytes = disk::read(disk, path).with_context(|| {
            format!("{origin} cannot be read: create the disk again from seed.img")
        })?;
        let Some(bytes) = bytes else {
            others.push(instead(disk)?);
            continue;
        };
        let next = FoundDocument::parse(origin, &bytes)?;
        match &found {
            Some(first) if !first.agrees_with(&next) => {
                bail!(
                    "{} and {} are different documents: detach one of the disks",
                    first.origin,
                    next.origin
                )
            }
            Some(_) => {}
            None => found = Some(next),
        }
    }
    Ok(found.map_or_else(
        || SourceResult::Nothing(others.join("; ")),
        SourceResult::Found,
    ))
}
