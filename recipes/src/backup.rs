//! The settings in `[backup]` that the image contains. These settings do not include credentials.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::recipient::Recipient;
use crate::schedule::Schedule;

/// The default folder for snapshots.
pub const FOLDER: &str = "/var/backups/etcd";

/// The settings in `[backup]` that the image contains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Backup {
    /// The schedule of snapshots.
    pub schedule: Schedule,
    /// The destination of snapshots.
    pub destination: Destination,
    /// The rules that decide which snapshots are kept.
    pub keep: RetentionPolicy,
    /// Whether snapshots are compressed, with zstd.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compress: bool,
    /// The recipients for whom snapshots are encrypted. If the list is empty, snapshots are not
    /// encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub age: Vec<Recipient>,
    /// The address of the object store, and the way to access it.
    #[serde(default)]
    pub s3: S3,
}

/// The destination of snapshots: a folder, or a prefix in a bucket of an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// An absolute path.
    Folder(PathBuf),
    /// `s3://bucket/prefix/`.
    Bucket {
        /// The name of the bucket.
        bucket: String,
        /// The prefix, which is empty or ends with a slash.
        prefix: String,
    },
}

/// How to reach an S3-compatible object store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3 {
    /// The store's address. `None` means Amazon's address for the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Url>,
    /// The store's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket is the first part of the path rather than part of the host name.
    #[serde(default)]
    pub path_style: bool,
}

/// The number of hours, days, weeks and months for which a snapshot is kept. firstboot counts only
/// periods that have a snapshot, and keeps the newest snapshot of each of these periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RetentionPolicy {
    /// The number of hourly snapshots: the newest snapshot of each hour.
    pub hourly: u32,
    /// The number of daily snapshots: the newest snapshot of each day.
    pub daily: u32,
    /// The number of weekly snapshots: the newest snapshot of each week.
    pub weekly: u32,
    /// The number of monthly snapshots: the newest snapshot of each month.
    pub monthly: u32,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self {
            hourly: 24,
            daily: 7,
            weekly: 4,
            monthly: 12,
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("s3://") else {
            let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
            let parts = text
                .strip_prefix('/')
                .map(|rest| rest.trim_end_matches('/'));
            let safe = text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            return match parts {
                Some(parts) if safe && parts.split('/').all(plain) => {
                    Ok(Self::Folder(PathBuf::from(format!("/{parts}"))))
                }
                _ => Err(
                    "expected an absolute path such as /var/backups/etcd, or s3://bucket/prefix/"
                        .to_owned(),
                ),
            };
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // The following rules for bucket names are Amazon's. Other stores have similar rules.
        let bucket_ok = (3..=63).contains(&bucket.len())
            && bucket
                .chars()
                .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.'));
        if !bucket_ok {
            return Err(format!(
                "`{bucket}` is not a bucket name: expected 3 to 63 characters from a-z, 0-9, - and \
                 ."
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        let part_ok = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.=".contains(c))
        };
        if !prefix.is_empty() && !prefix.split('/').all(part_ok) {
            return Err(format!(
                "`{prefix}` is not a prefix: expected words of letters, digits and - _ . = \
                 separated by /"
            ));
        }
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        Ok(Self::Bucket {
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_and_shown() {
        for (text, shown) in [
            ("/var/backups/etcd", "/var/backups/etcd"),
            ("/mnt/nfs/", "/mnt/nfs"),
            ("s3://backups", "s3://backups/"),
            ("s3://backups/etcd/prod", "s3://backups/etcd/prod/"),
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "/",
            "backups",
            "/a/../b",
            "/a b",
            "s3://",
            "s3://A/x",
            "s3://ab/x//y",
            "s3://abc/../y",
            "http://x/y",
        ] {
            assert!(bad.parse::<Destination>().is_err(), "{bad}");
        }
    }
}
