//! Defines the store for snapshots. A store is a folder or a bucket.

use anyhow::{Context as _, Result, ensure};
use recipes::Backup;
use recipes::backup::{Destination, FOLDER, S3};

use super::bucket::Bucket;
use super::dir_store::DirStore;
use super::listed::ListedSnapshot;

#[derive(Debug)]
pub(super) enum Store {
    Folder(DirStore),
    Bucket(Bucket),
}

impl Store {
    /// Opens the destination `given` as [`Store::of`] does.
    ///
    /// # Errors
    /// Also fails if `given` is a folder that does not exist, because an empty list would hide a
    /// wrong path.
    pub(super) fn existing(given: Option<&Destination>, backup: Option<&Backup>) -> Result<Self> {
        if let Some(Destination::Folder(path)) = given {
            let exists = path.try_exists();
            ensure!(
                exists.with_context(|| format!("cannot inspect {}", path.display()))?,
                "the folder {} does not exist: name a folder with snapshots",
                path.display()
            );
        }
        Self::of(given, backup)
    }

    /// Opens the destination `given`. If no destination is given, opens the recipe's destination,
    /// or the default folder if the recipe has no `[backup]`.
    pub(super) fn of(given: Option<&Destination>, backup: Option<&Backup>) -> Result<Self> {
        let destination = match (given, backup) {
            (Some(given), _) => given.clone(),
            (None, Some(backup)) => backup.destination.clone(),
            (None, None) => FOLDER.parse().map_err(anyhow::Error::msg)?,
        };
        let s3 = backup.map_or_else(S3::default, |backup| backup.s3.clone());
        Ok(match destination {
            Destination::Folder(path) => Self::Folder(DirStore(path)),
            Destination::Bucket { bucket, prefix } => {
                Self::Bucket(Bucket::open(&bucket, &prefix, &s3)?)
            }
        })
    }

    /// Lists all files or objects whose names have the form of a snapshot's name, sorted by name.
    pub(super) async fn list(&self) -> Result<Vec<ListedSnapshot>> {
        let mut found = match self {
            Self::Folder(folder) => folder.list(),
            Self::Bucket(bucket) => bucket.list().await,
        }?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        match self {
            Self::Folder(folder) => folder.remove(name),
            Self::Bucket(bucket) => bucket.remove(name).await,
        }
    }
}

impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => folder.0.display().fmt(f),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}
