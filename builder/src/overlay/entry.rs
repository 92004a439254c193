//! An entry of the overlay, and the archive that results.

use std::path::PathBuf;

use recipes::Sha256;

use super::path::NodePath;

/// One file or folder of the node.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its path on the node.
    pub(crate) path: NodePath,
    /// Its permission bits, at most 07777. The modes of the builder's own files and its umask do
    /// not matter.
    pub(crate) mode: u32,
    /// The numeric id of its owner. Names are not written: the node's passwd may give them to other
    /// ids.
    pub(crate) uid: u32,
    /// The numeric id of its group.
    pub(crate) gid: u32,
    /// Its kind.
    pub(crate) kind: Kind,
}

/// The kind of an entry.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A file with this content.
    File(Content),
    /// A folder.
    Dir,
}

/// The source of a file's content.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// From memory, such as a rendered template.
    Bytes(Vec<u8>),
    /// From this file. If its compressed form is in the cache, the file is not read. If it is read,
    /// it must have this digest.
    Verified {
        /// The file.
        path: PathBuf,
        /// Its digest.
        sha256: Sha256,
        /// Its size in bytes.
        size: u64,
    },
}

/// The archive, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Its digest.
    pub(crate) sha256: Sha256,
    /// Its size in bytes.
    pub(crate) size: u64,
}
