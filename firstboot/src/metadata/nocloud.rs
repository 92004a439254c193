//! Reads NoCloud's seed, which is a folder or a disk. The disk has the label `cidata`, and a FAT or
//! ISO 9660 file system. The document is in `user-data`.

use std::path::Path;

use anyhow::{Result, bail};
use recipes::cluster::MetadataSource;

use super::document::{FoundDocument, LIMIT};
use super::source::{Source, SourceResult};
use super::{disk, seed};
use crate::files;

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::Nocloud,
    find: |_| find(),
};

const FOLDERS: [&str; 2] = [
    "/var/lib/cloud/seed/nocloud",
    "/var/lib/cloud/seed/nocloud-net",
];
const LABEL: &str = "cidata";

fn find() -> Result<SourceResult> {
    for folder in FOLDERS {
        let path = Path::new(folder).join("user-data");
        if path.exists() {
            return Ok(FoundDocument::parse(
                path.display().to_string(),
                &files::read_bounded(&path, LIMIT)?,
            )?
            .into());
        }
    }
    let disks = disk::labelled(LABEL)?;
    if disks.is_empty() {
        return Ok(SourceResult::Nothing(format!(
            "no disk is labelled {LABEL}, and {} does not contain user-data",
            FOLDERS[0]
        )));
    }
    // A disk without `user-data` is an error, because every NoCloud seed contains this file, even
    // if it is empty.
    seed::read(&disks, "user-data", |disk| {
        bail!(
            "the disk {} is labelled {LABEL} but does not contain user-data",
            disk.display()
        )
    })
}
