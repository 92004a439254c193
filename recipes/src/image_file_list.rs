//! The overlay's file list, which lists the files that the image put on the node. The list is
//! stored in `/etc/firstboot/image.json`.

use serde::{Deserialize, Serialize};

use crate::Sha256;

/// All files of the overlay except the list itself and `etc/firstboot/SHA256SUMS`. The overlay's
/// digest in the kickstart also covers these two files.
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
    /// Whether the node itself changes the file later, as it does with `/etc/hosts`. firstboot does
    /// not compare such a file on the node with this list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mutable: bool,
}
