//! the overlay's file list: the files that the image put on the node. The list is stored in
//! `/etc/firstboot/image.json`.

use serde::{Deserialize, Serialize};

use crate::Sha256;

/// All files of the overlay except the list itself, which the overlay's digest in the kickstart
/// covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFileList {
    /// The files, sorted by path.
    pub files: Vec<ImageFile>,
}

/// One file of the overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFile {
    /// The file's path from the root, without a leading slash.
    pub path: String,
    /// The file's permission bits.
    pub mode: u32,
    /// The file's owner.
    pub uid: u32,
    /// The file's group.
    pub gid: u32,
    /// The file's length in bytes.
    pub size: u64,
    /// The file's digest.
    pub sha256: Sha256,
    /// Whether the node itself changes the file later, as it does with `/etc/hosts`. Such a file
    /// must exist, but its content is not compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mutable: bool,
}
