//! The overlay: a tree of files in one tar.gz. The archive's bytes do not depend on the machine or
//! the day of the build.
//!
//! Read the modules in this order: `path` and `sort` (the entries that the archive may contain),
//! `header` (the tar header of each entry), `gzip` and `compressed_cache` (compress each large file
//! once), and `pack` (writes the archive).
//!
//! The archive is one tar stream, compressed as many concatenated gzip members. According to RFC
//! 1952 (2.2), the result is a gzip file, and CentOS 7's gzip 1.5 and tar 1.26 read it correctly.
//! Separate members have two advantages: the builder compresses a large file in parallel, and
//! compresses it again only if it changes.

mod compressed_cache;
mod entry;
mod error;
mod gzip;
mod header;
mod pack;
mod path;
mod sort;
#[cfg(test)]
mod tests;

pub(crate) use entry::{Content, Entry, Kind, PackedOverlay};
pub(crate) use error::OverlayError;
pub(crate) use header::LATEST;
pub(crate) use pack::{cached_size, pack};
pub(crate) use path::NodePath;
