//! How a cluster is backed up: what the image tells every node of `[backup]`. No credential is in
//! it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::recipient::Recipient;
use crate::schedule::Schedule;

/// Where snapshots lie by default.
pub const FOLDER: &str = "/var/backups/etcd";

/// `[backup]`, as the image carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Backup {
    /// When.
    pub schedule: Schedule,
    /// Where to.
    pub destination: Destination,
    /// How many are kept.
    pub keep: Keep,
    /// Whether they are made smaller, with zstd.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compress: bool,
    /// For whom they are encrypted; for nobody in particular: they are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub age: Vec<Recipient>,
    /// How the object store is reached.
    #[serde(default)]
    pub s3: S3,
}

/// Where snapshots lie: a folder, or a prefix in a bucket of an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// An absolute path.
    Folder(PathBuf),
    /// `s3://bucket/prefix/`.
    Bucket {
        /// Its name.
        bucket: String,
        /// Empty, or ends with a slash.
        prefix: String,
    },
}

/// How an S3-compatible object store is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3 {
    /// Its address; none: Amazon's, by the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Url>,
    /// Its region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket is the first part of the path and not of the host name.
    #[serde(default)]
    pub path_style: bool,
}

/// How many snapshots are kept: the newest of each of so many hours, days, weeks, months.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keep {
    /// Hours that have one.
    pub hourly: u32,
    /// Days that have one.
    pub daily: u32,
    /// Weeks that have one.
    pub weekly: u32,
    /// Months that have one.
    pub monthly: u32,
}

impl Default for Keep {
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
                    "expected an absolute path, as /var/backups/etcd, or s3://bucket/prefix/"
                        .to_owned(),
                ),
            };
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // Amazon's rules for names of buckets, which other stores keep to as well.
        let bucket_ok = (3..=63).contains(&bucket.len())
            && bucket
                .chars()
                .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.'));
        if !bucket_ok {
            return Err(format!(
                "`{bucket}` is not a name of a bucket: 3 to 63 of a-z, 0-9, - and ."
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
                "`{prefix}` is not a prefix: expected words of letters, digits and - _ . = with / between"
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
