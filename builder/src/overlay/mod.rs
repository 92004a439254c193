//! The overlay: a tree of files as one tar.gz, the same bytes from any machine on any day.
//!
//! Read in this order: `path` and `order` (what may be in it), `header` (what tar says of each), `gzip` and `shelf`
//! (compressing once and remembering), `pack` (all of it together).
//!
//! The archive is one tar stream, compressed as many gzip members one behind the other; RFC 1952 (2.2) makes that a
//! gzip file, and gzip 1.5 and tar 1.26 of CentOS 7 read it as one. It buys two things: the members of a large file
//! are compressed in parallel, and only once for as long as that file does not change.

mod error;
mod gzip;
mod header;
mod order;
mod pack;
mod path;
mod shelf;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use recipes::Sha256;

pub(crate) use error::OverlayError;
pub(crate) use pack::{pack, shelved};
pub(crate) use path::NodePath;

/// One file or folder of the node.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Where it is on the node.
    pub(crate) path: NodePath,
    /// Its permission bits, at most 07777. Those of the builder's files and its umask do not matter.
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
    File(Source),
    /// A folder.
    Dir,
}

/// Where a file's content comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// From memory, as a rendered template.
    Bytes(Vec<u8>),
    /// From this file. Where its compressed form is on the shelf the file is not read; where it is read, it must have
    /// this digest.
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
