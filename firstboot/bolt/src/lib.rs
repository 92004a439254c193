//! Reads a bbolt database, the file in which etcd stores its keys, and checks every page of it.
//!
//! The format is bbolt's own (go.etcd.io/bbolt, internal/common). All pages have the same size, and
//! each page's header contains its id. Of the two meta pages, the valid one with the higher
//! transaction id is in force. It points to the root of a B+tree of buckets, each of which is
//! itself a B+tree. Only the meta pages have a checksum, so everything else is compared with the
//! output of bbolt's writer. Either the file is as bbolt wrote it, or [`check`] reports the
//! differences.
//!
//! The file is never mapped into memory, so a page that the disk cannot read causes an error and
//! not a signal. Memory use is limited to one or two bits for each page in use and the few pages
//! from the root to the current one, regardless of the length that the file states.

mod bitmap;
mod fault;
mod freelist;
mod get;
mod meta;
mod node;
mod page;
mod read;
mod tree;
mod types;
mod walk;

pub use fault::{Fault, Faults};
pub use get::get;
pub use meta::{META_PAGES, Meta, stated_length};
pub use read::ReadAt;
pub use types::{Entry, FileKind, Offset, Path, Visitor};
pub use walk::{Report, check};
