//! Reads a bbolt database, the file in which etcd stores its keys, and checks every page of the
//! database.
//!
//! The format is bbolt's own (go.etcd.io/bbolt, internal/common). All pages have the same size, and
//! each page's header contains its id. The valid meta page with the higher transaction id is the
//! current one. The current meta page points to the root of a B+tree of buckets, and each bucket is
//! itself a B+tree. Only the meta pages have a checksum, so this crate checks everything else
//! against the rules that bbolt's writer follows. [`check`] reports every violation of these rules
//! that it finds.
//!
//! This crate never maps the file into memory, so a page that the disk cannot read causes an error
//! instead of a signal. Memory use depends on the number of pages in use and on the few pages from
//! the root to the current page, but not on the length that the file states.

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
