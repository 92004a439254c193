//! The destination of a snapshot: a file or an object. It gets its name only after the check.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::{Backup, Label};

use super::dir_store::{DirStore, beside};
use super::encode::Encoding;
use super::listed::is_snapshot;
use super::manifest::{self, Manifest};
use super::store::Store;
use crate::exit::refused;
use crate::files::partial_file::PartialFile;
use crate::files::{self, DesiredFile};
use crate::machine::host;
use crate::paths;
use crate::reason::ReasonId;

/// The store, and the name in it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) place: Store,
    /// `None` for the default name: the cluster, this host, the time and the revision.
    name: Option<String>,
}

impl Target {
    /// Parses the command line: the path of a file, the URL of an object, or a folder or prefix for
    /// the default name. Without it the target is the recipe's destination.
    pub(super) fn of(text: Option<&str>, backup: Option<&Backup>) -> Result<Self> {
        let Some(text) = text else {
            return Ok(Self {
                place: Store::of(None, backup)?,
                name: None,
            });
        };
        if let Some(rest) = text.strip_prefix("s3://") {
            return Ok(match rest.rsplit_once('/') {
                Some((place, name)) if is_snapshot(name) => Self {
                    place: Store::of(Some(&format!("s3://{place}/")), backup)?,
                    name: Some(name.to_owned()),
                },
                _ => Self {
                    place: Store::of(Some(text), backup)?,
                    name: None,
                },
            });
        }
        let path = std::path::absolute(text).with_context(|| format!("{text} is not a path"))?;
        if path.is_dir() || text.ends_with('/') {
            return Ok(Self {
                place: Store::Folder(DirStore(path)),
                name: None,
            });
        }
        let (Some(folder), Some(name)) = (
            path.parent(),
            path.file_name().and_then(|name| name.to_str()),
        ) else {
            return Err(refused(
                ReasonId::SnapshotName.because(format!("{text} is not the path of a file")),
            ));
        };
        Ok(Self {
            place: Store::Folder(DirStore(folder.to_owned())),
            name: Some(name.to_owned()),
        })
    }

    /// The name. A given name must have the suffix of the recipe's encoding.
    pub(super) fn name(
        &self,
        cluster: &Label,
        time: u64,
        revision: i64,
        encoding: Encoding<'_>,
    ) -> Result<String> {
        let suffix = encoding.suffix();
        let Some(name) = &self.name else {
            return Ok(manifest::name(cluster, &host(), time, revision) + suffix);
        };
        let bare = name.strip_suffix(suffix);
        if bare.is_none_or(|bare| [".age", ".zst"].iter().any(|other| bare.ends_with(other))) {
            let text = match suffix {
                "" => format!(
                    "{name}: the recipe of this image ([backup]) neither encrypts nor compresses snapshots"
                ),
                suffix => {
                    format!(
                        "{name}: the recipe of this image ([backup]) requires a name that ends with .db{suffix}"
                    )
                }
            };
            return Err(refused(ReasonId::SnapshotName.because(text)));
        }
        Ok(name.clone())
    }
}

/// Refuses a path at which a file exists.
pub(super) fn vacant(path: &Path) -> Result<()> {
    for path in [path, &beside(path)] {
        if path.symlink_metadata().is_ok() {
            let text = format!(
                "{} exists, and a snapshot never replaces a file. Choose another name",
                path.display()
            );
            return Err(refused(ReasonId::SnapshotExists.because(text)));
        }
    }
    Ok(())
}

/// A temporary file without a name.
pub(super) fn spool() -> Result<File> {
    let folder = Path::new(paths::BACKUPS);
    if !folder.is_dir() {
        files::DesiredDir::new(folder, 0o700, files::ROOT).make()?;
    }
    let part = PartialFile::begin(folder, "firstboot-spool")?;
    part.file().try_clone().context("cannot hold a file open")
}

/// Gives a file its name, and then writes its manifest, so that a manifest never describes another
/// file.
pub(super) fn commit(part: PartialFile, path: &Path, manifest: &Manifest) -> Result<()> {
    vacant(path)?;
    part.commit(path)?;
    DesiredFile::new(beside(path), manifest.text()?)
        .mode(0o600, files::ROOT)
        .write()
}
