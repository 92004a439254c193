//! `mirror.json`: the contents of a complete mirror.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::Sha256;
use serde::{Deserialize, Serialize};

use super::etcd::MirroredRelease;
use super::folder::{RECORD, write_durably};
use crate::text_file;

/// The maximum size of a record.
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// The contents of a complete mirror, written after all other files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Record {
    pub(super) etcd: MirroredRelease,
    pub(super) tree: RecordedRepository,
    pub(super) repos: Vec<RecordedRepository>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RecordedRepository {
    /// The repository's name in the recipe. The tree has no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// The repository's folder, relative to the mirror's folder.
    pub(super) path: String,
    pub(super) repomd_sha256: Sha256,
    /// Whether the recipe pins the digest of repomd.xml.
    pub(super) pinned: bool,
    /// The digest of the tree's `.treeinfo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) treeinfo_sha256: Option<Sha256>,
    /// The digests of the tree's images for which `.treeinfo` lists no digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) images: BTreeMap<String, Sha256>,
    /// The number of packages.
    pub(super) packages: usize,
    pub(super) bytes: u64,
}

impl Record {
    /// Reads the record of the last complete run, or returns `None` if there is no record.
    pub(super) fn read(root: &Path) -> Result<Option<Self>> {
        let path = root.join(RECORD);
        let cannot_read = || format!("cannot read {}", path.display());
        if !path.try_exists().with_context(cannot_read)? {
            return Ok(None);
        }
        let bytes = text_file::bytes(&path, MAX_RECORD_BYTES).with_context(cannot_read)?;
        let record = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} is damaged. Remove this file, and run the command again. The command then downloads the repositories' lists again",
                path.display()
            )
        })?;
        Ok(Some(record))
    }

    /// Writes the record into the mirror's folder.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(RECORD);
        let text = serde_json::to_string_pretty(self)? + "\n";
        write_durably(&path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Returns the record of the repository in this folder.
    pub(super) fn repository(&self, path: &str) -> Option<&RecordedRepository> {
        std::iter::once(&self.tree)
            .chain(&self.repos)
            .find(|repository| repository.path == path)
    }
}
