//! The overlay: a tree of files as one tar.gz, with the same bytes from any machine on any day.
//!
//! Read the modules in this order: `path` and `order` (what the archive may contain), `header` (the
//! tar header of each entry), `gzip` and `compressed_cache` (compress once and remember), `pack`
//! (all of it together).
//!
//! The archive is one tar stream, compressed as many concatenated gzip members. By RFC 1952 (2.2)
//! that is a gzip file, and gzip 1.5 and tar 1.26 of CentOS 7 read it as one. This has two
//! advantages: the members of a large file are compressed in parallel, and a file is compressed
//! only once as long as it does not change.

mod compressed_cache;
mod entry;
mod error;
mod gzip;
mod header;
mod order;
mod pack;
mod path;
#[cfg(test)]
mod tests;

pub(crate) use entry::{Content, Entry, Kind, Packed};
pub(crate) use error::OverlayError;
pub(crate) use header::LATEST;
pub(crate) use pack::{cached_size, pack};
pub(crate) use path::NodePath;
