//! The overlay's stamp: what the image put on the node, file by file. It is in
//! `/etc/firstboot/image.json`.

use serde::{Deserialize, Serialize};

use crate::Sha256;

/// All files of the overlay but the stamp itself, which the kickstart's digest of the overlay
/// covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageStamp {
    /// In the order of their paths.
    pub files: Vec<StampedFile>,
}

/// One file of the overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StampedFile {
    /// Where it is, from the root, without a leading slash.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
    /// True for what the node itself goes on to change (`/etc/hosts`): present, but not compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mutable: bool,
}
