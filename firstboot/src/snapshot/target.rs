//! Defines the destination of a snapshot, which is a file or an object. The snapshot receives its
//! final name only after firstboot has checked the snapshot.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result};
use recipes::backup::Destination;
use recipes::{Backup, Label};

use super::dir_store::{DirStore, manifest_path};
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GivenTarget {
    /// The path of a file or a folder.
    Path(PathBuf),
    /// A bucket and, if the command line specifies it, the name of the object in the bucket.
    Object(Destination, Option<String>),
}

impl FromStr for GivenTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return match text.split_once("://") {
                Some(_) => {
                    Err("expected the path of a file or a folder, s3://BUCKET/OBJECT or s3://BUCKET/PREFIX/".to_owned())
                }
                None => Ok(Self::Path(PathBuf::from(text))),
            };
        };
        match rest.rsplit_once('/') {
            Some((place, name)) if is_snapshot(name) => {
                let place = format!("s3://{place}/").parse()?;
                Ok(Self::Object(place, Some(name.to_owned())))
            }
            _ => Ok(Self::Object(text.parse()?, None)),
        }
    }
}

/// The store, and the name of the snapshot in the store.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) place: Store,
    /// The name on the command line, or `None` for the default name, which consists of the cluster,
    /// this host, the time and the revision.
    name: Option<String>,
}

impl Target {
    /// Opens the target that the command line names. Without a target on the command line, opens
    /// the recipe's destination.
    pub(super) fn of(given: Option<&GivenTarget>, backup: Option<&Backup>) -> Result<Self> {
        let given = match given {
            None => {
                return Ok(Self {
                    place: Store::of(None, backup)?,
                    name: None,
                });
            }
            Some(GivenTarget::Object(place, name)) => {
                return Ok(Self {
                    place: Store::of(Some(place), backup)?,
                    name: name.clone(),
                });
            }
            Some(GivenTarget::Path(path)) => path,
        };
        let text = given.display();
        let path = std::path::absolute(given).with_context(|| format!("{text} is not a path"))?;
        if path.is_dir() || given.as_os_str().as_encoded_bytes().ends_with(b"/") {
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

    /// Returns the name of the snapshot. A name on the command line must end with the suffix of the
    /// encoding that the recipe selects.
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
                    "{name}: the recipe of this image ([backup]) neither encrypts nor compresses snapshots, so the name must not end with .age or .zst"
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

/// Refuses a path if a file exists at the path or at the path of its manifest.
pub(super) fn ensure_absent(path: &Path) -> Result<()> {
    for path in [path, &manifest_path(path)] {
        if path.symlink_metadata().is_ok() {
            let text = format!(
                "{} exists, and a snapshot never replaces a file. Choose a different name",
                path.display()
            );
            return Err(refused(ReasonId::SnapshotExists.because(text)));
        }
    }
    Ok(())
}

/// Returns a temporary file without a name.
pub(super) fn temporary_file() -> Result<File> {
    let folder = Path::new(paths::BACKUPS);
    if !folder.is_dir() {
        files::DesiredDir::new(folder, 0o700, files::ROOT).make()?;
    }
    let part = PartialFile::begin(folder, "firstboot-temporary")?;
    part.file()
        .try_clone()
        .context("cannot duplicate a file descriptor")
}

/// Gives a file its final name, and only then writes its manifest, so that a manifest never
/// describes a different file.
pub(super) fn commit(part: PartialFile, path: &Path, manifest: &Manifest) -> Result<()> {
    ensure_absent(path)?;
    part.commit(path)?;
    DesiredFile::new(manifest_path(path), manifest.text()?)
        .mode(0o600, files::ROOT)
        .write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_parsed_as_a_path_or_an_object() {
        let path = |text: &str| Ok(GivenTarget::Path(PathBuf::from(text)));
        for text in ["/root/", "etcd.db", "/var/backups/etcd/a.db"] {
            assert_eq!(text.parse(), path(text));
        }
        let place: Destination = "s3://backups/etcd/".parse().unwrap();
        for (text, name) in [
            ("s3://backups/etcd/", None),
            ("s3://backups/etcd/a.db", Some("a.db".to_owned())),
        ] {
            let wanted = GivenTarget::Object(place.clone(), name);
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
        for (text, why) in [
            ("s3://", "not a bucket name"),
            ("s3://B/a.db", "not a bucket name"),
            ("s3://backups/a b/", "not a prefix"),
            ("http://10.0.0.1/a.db", "s3://BUCKET/OBJECT"),
            ("ftp://x", "s3://BUCKET/OBJECT"),
        ] {
            let error = text.parse::<GivenTarget>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
