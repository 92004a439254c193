//! The format of the manifest: its fields, and the names of the related files.

use std::fmt;
use std::path::Path;

use recipes::{EtcdVersion, Sha256};
use serde::{Deserialize, Serialize};

use super::error::ManifestError;

/// The payload type of a signed manifest.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.etcd-image.manifest+json";

pub(super) const FORMAT: u32 = 1;

pub(super) const MANIFEST: &str = "manifest.json";

pub(super) const SIGNATURE: &str = "manifest.json.sig";

pub(super) const SUMS: &str = "SHA256SUMS";

/// The file name of the overlay in an image.
pub(crate) const OVERLAY: &str = "overlay.tar.gz";

/// The description of an image's contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Manifest {
    /// The version of the manifest's format, which is 1.
    pub format: u32,
    /// The version of the builder.
    pub builder: String,
    /// The recipe's file name without folders, its size and its digest.
    pub recipe: FileDigest,
    /// The version of etcd in the image.
    pub etcd: EtcdVersion,
    /// The id of the key that the image trusts.
    pub trust: String,
    /// The input files, by name.
    pub inputs: Vec<FileDigest>,
    /// The files of the image, by path, except the manifest, its signature and `SHA256SUMS`.
    pub outputs: Vec<FileDigest>,
    /// The entries of the overlay, by path.
    pub overlay: Vec<OverlayEntry>,
}

/// The name, size and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FileDigest {
    /// The file's name, or its path below the image.
    pub name: String,
    /// The size in bytes.
    pub size: u64,
    /// The file's SHA-256 digest.
    pub sha256: Sha256,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct OverlayEntry {
    /// The path on the node, without the leading `/`.
    pub path: String,
    /// Whether the entry is a file or a folder.
    pub kind: Kind,
    /// The entry's permissions.
    pub mode: Mode,
    /// The numeric id of the entry's owner.
    pub uid: u64,
    /// The numeric id of the entry's group.
    pub gid: u64,
    /// The size in bytes, only for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The digest, only for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
}

/// The kind of an entry of the overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    File,
    Folder,
}

/// Permissions, written in octal, such as `0644`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(pub u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl TryFrom<String> for Mode {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mode = u32::from_str_radix(&text, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777);
        mode.map(Self).ok_or_else(|| {
            format!("`{text}` is not a mode: expected octal permissions, as in 0644")
        })
    }
}

pub(super) fn json<T: Serialize>(value: &T, path: &Path) -> Result<Vec<u8>, ManifestError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| ManifestError::wrong(path, error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}
