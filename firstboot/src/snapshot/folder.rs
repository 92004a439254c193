//! A folder with snapshots.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::manifest::{self, Manifest};
use super::place::{Found, is_snapshot};
use crate::files;

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn list(&self) -> Result<Vec<Found>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("cannot list {}", self.0.display()))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", self.0.display()))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // One that is pruned at this moment by another is not there any more.
            let Ok(about) = entry.metadata() else { continue };
            if is_snapshot(&name) && about.is_file() {
                let manifest = files::read_bounded(&beside(&entry.path()), manifest::LIMIT).ok();
                let manifest = manifest.and_then(|content| Manifest::parse(&content));
                // A copy under another name is not the one that the manifest is about.
                let manifest = manifest.filter(|manifest| manifest.file == name);
                found.push(Found { name, size: about.len(), manifest });
            }
        }
        Ok(found)
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.0.join(name);
        // The manifest goes last: what is left by a power cut in between is no snapshot that looks whole.
        files::remove(&path)?;
        files::remove(beside(&path))?;
        files::sync(&self.0).with_context(|| format!("cannot write {}", self.0.display()))
    }
}

/// The manifest of a snapshot.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(manifest::SUFFIX);
    name.into()
}
