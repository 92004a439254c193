//! An entry of the overlay, and the resulting archive.

use std::path::PathBuf;

use recipes::Sha256;

use super::path::NodePath;

/// One file or folder of the node.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: NodePath,
    /// The permission bits, at most 07777. The permission bits do not depend on the modes of the
    /// builder's files or on the builder's umask.
    pub(crate) mode: u32,
    /// The numeric id of the entry's owner. The archive contains no user names, because the node's
    /// passwd may map the names to other ids.
    pub(crate) uid: u32,
    /// The numeric id of the entry's group.
    pub(crate) gid: u32,
    /// The entry's kind and content.
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    File(Content),
    /// A folder.
    Dir,
}

/// The source of a file's content.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Bytes in memory, such as a rendered template.
    Bytes(Vec<u8>),
    /// A file with a known digest. If the file's compressed form is in the cache, the file is not
    /// read. If the compressed form is not in the cache, the file's content must have this digest.
    Verified {
        /// The path of the file.
        path: PathBuf,
        /// The known digest of the file.
        sha256: Sha256,
        /// The file's size in bytes.
        size: u64,
    },
}

/// The archive that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedOverlay {
    /// The archive's digest.
    pub(crate) sha256: Sha256,
    /// The archive's size in bytes.
    pub(crate) size: u64,
}
