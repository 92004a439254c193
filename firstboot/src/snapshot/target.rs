//! What a snapshot becomes: a file, or an object. Until it was found good it is neither.

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

/// Where it goes, and how it is called.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) place: Store,
    /// `None`: a good one: when it was begun, the cluster, this host, the revision then.
    name: Option<String>,
}

impl Target {
    /// What the command line says: a file's path or an object's URL; or a folder or prefix, for a good name in it;
    /// or nothing, for a good name in the recipe's destination.
    pub(super) fn of(text: Option<&str>, backup: Option<&Backup>) -> Result<Self> {
        let Some(text) = text else { return Ok(Self { place: Store::of(None, backup)?, name: None }) };
        if let Some(rest) = text.strip_prefix("s3://") {
            return Ok(match rest.rsplit_once('/') {
                Some((place, name)) if is_snapshot(name) => {
                    Self { place: Store::of(Some(&format!("s3://{place}/")), backup)?, name: Some(name.to_owned()) }
                }
                _ => Self { place: Store::of(Some(text), backup)?, name: None },
            });
        }
        let path = std::path::absolute(text).with_context(|| format!("{text} is not a path"))?;
        if path.is_dir() || text.ends_with('/') {
            return Ok(Self { place: Store::Folder(DirStore(path)), name: None });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(refused(format!("{text} names no file")));
        };
        Ok(Self { place: Store::Folder(DirStore(folder.to_owned())), name: Some(name.to_owned()) })
    }

    /// The name; one that was given must say what will be stored.
    pub(super) fn name(&self, cluster: &Label, time: u64, revision: i64, encoding: Encoding<'_>) -> Result<String> {
        let suffix = encoding.suffix();
        let Some(name) = &self.name else { return Ok(manifest::name(cluster, &host(), time, revision) + suffix) };
        let bare = name.strip_suffix(suffix);
        if bare.is_none_or(|bare| [".age", ".zst"].iter().any(|other| bare.ends_with(other))) {
            return Err(refused(match suffix {
                "" => {
                    format!("{name}: by this image's recipe ([backup]) snapshots are neither encrypted nor compressed")
                }
                suffix => format!("{name}: by this image's recipe ([backup]) its name must end with .db{suffix}"),
            }));
        }
        Ok(name.clone())
    }
}

/// Refuses a file that is there.
pub(super) fn vacant(path: &Path) -> Result<()> {
    for path in [path, &beside(path)] {
        if path.symlink_metadata().is_ok() {
            return Err(refused(format!("{} exists; a snapshot never replaces another file", path.display())));
        }
    }
    Ok(())
}

/// A file that nobody else sees, for what must be read twice and kept nowhere.
pub(super) fn spool() -> Result<File> {
    let folder = Path::new(paths::BACKUPS);
    if !folder.is_dir() {
        files::DesiredDir::new(folder, 0o700, files::ROOT).make()?;
    }
    let part = PartialFile::begin(folder, "firstboot-spool")?;
    part.file().try_clone().context("cannot hold a file open")
}

/// Gives a file its name and its manifest, in this order: a manifest never stands beside another's file.
pub(super) fn commit(part: PartialFile, path: &Path, manifest: &Manifest) -> Result<()> {
    vacant(path)?;
    part.commit(path)?;
    DesiredFile::new(beside(path), manifest.text()?).mode(0o600, files::ROOT).write()
}
