//! An entry of the overlay, and the archive that results.

use std::path::PathBuf;

use recipes::Sha256;

use super::path::NodePath;

/// One file or folder of the node.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Where it is on the node.
    pub(crate) path: NodePath,
    /// Its permission bits, at most 07777. Those of the builder's files and its umask do not
    /// matter.
    pub(crate) mode: u32,
    /// Its owner's number. Names are not written: the node's passwd may give them to others.
    pub(crate) uid: u32,
    /// Its group's number.
    pub(crate) gid: u32,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A file with this content.
    File(Content),
    /// A folder.
    Dir,
}

/// Where a file's content comes from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// From memory, as a rendered template.
    Bytes(Vec<u8>),
    /// From this file. Where its compressed form is in the cache the file is not read; where it is
    /// read, it must have this digest.
    Verified {
        /// The file.
        path: PathBuf,
        /// Its digest.
        sha256: Sha256,
        /// Its size in bytes.
        size: u64,
    },
}

/// The archive as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Its digest.
    pub(crate) sha256: Sha256,
    /// Its size in bytes.
    pub(crate) size: u64,
}
