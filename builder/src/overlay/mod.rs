//! The overlay: a tree of files as one tar.gz, the same bytes from any machine on any day.
//!
//! Read in this order: `path` and `order` (what may be in it), `header` (what tar says of each),
//! `gzip` and `compressed_cache` (compressing once and remembering), `pack` (all of it together).
//!
//! The archive is one tar stream, compressed as many gzip members one behind the other; RFC 1952
//! (2.2) makes that a gzip file, and gzip 1.5 and tar 1.26 of CentOS 7 read it as one. It buys two
//! things: the members of a large file are compressed in parallel, and only once for as long as
//! that file does not change.

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
