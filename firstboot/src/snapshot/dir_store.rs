//! Stores snapshots in a folder.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::listed::{ListedSnapshot, is_snapshot};
use super::manifest::{self, Manifest};
use crate::files::{self, Dir, FileAttributes, Kind};

#[derive(Debug, Clone)]
pub(super) struct DirStore(pub(super) PathBuf);

impl DirStore {
    pub(super) fn list(&self) -> Result<Vec<ListedSnapshot>> {
        let listed = || -> io::Result<Vec<(OsString, FileAttributes)>> {
            let folder = Dir::open(&self.0)?;
            let mut listed = Vec::new();
            for name in folder.names()? {
                // Skip a file that another process has deleted since the listing.
                listed.extend(folder.look(&name)?.map(|attributes| (name, attributes)));
            }
            Ok(listed)
        };
        let listed = match listed() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("cannot list {}", self.0.display()))?,
        };
        let mut found = Vec::new();
        for (name, attributes) in listed {
            let Ok(name) = name.into_string() else {
                continue;
            };
            if is_snapshot(&name) && attributes.kind == Kind::File {
                let manifest =
                    files::read_bounded(&manifest_path(&self.0.join(&name)), manifest::LIMIT).ok();
                let manifest = manifest.and_then(|content| Manifest::parse(&content));
                // If a snapshot was copied or renamed together with its manifest, the manifest
                // names another file. Ignore such a manifest.
                let manifest = manifest.filter(|manifest| manifest.file == name);
                found.push(ListedSnapshot {
                    name,
                    size: attributes.size,
                    manifest,
                });
            }
        }
        Ok(found)
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.0.join(name);
        // Delete the manifest last, so that a power cut between the two steps does not leave a
        // snapshot without a manifest.
        files::remove(&path)?;
        files::remove(manifest_path(&path))?;
        files::sync(&self.0).with_context(|| format!("cannot write {}", self.0.display()))
    }
}

pub(super) fn manifest_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(manifest::SUFFIX);
    name.into()
}
