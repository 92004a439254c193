//! Defines the types that the walk over a database shares with its caller: the kind of a file, a
//! location in the file, and the values that the visitor receives.

use crate::fault::Faults;

/// The way in which the file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// The file was streamed from one transaction. The file ends with its last page, and both meta
    /// pages are from the same transaction.
    Snapshot,
    /// The file is a database to which bbolt writes in place. The file may be longer than its pages
    /// require, and one of its meta pages may be half-written.
    Live,
}

/// The path of a bucket: the bucket's name and the buckets that contain it.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// The bucket's name.
    pub name: &'a [u8],
    /// The bucket that contains this bucket, or `None` for a top-level bucket.
    pub parent: Option<&'a Path<'a>>,
}

/// A location in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// The id of the page.
    pub page: u64,
    /// The offset in the file, in bytes.
    pub offset: u64,
}

/// A key with its value.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The key's bucket.
    pub bucket: &'a Path<'a>,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The location at which the key begins. The value follows the key.
    pub place: Offset,
}

/// A receiver of everything that the walk finds, in the order of the keys.
pub trait Visitor {
    /// Receives a bucket before its content. Adds a fault if the bucket's name violates the rules
    /// of the application.
    fn bucket(&mut self, _bucket: &Path<'_>, _place: Offset, _faults: &mut Faults) {}
    /// Receives the keys and values of one leaf page in order, each key followed by its value. A
    /// caller can hash these bytes to compute a hash over all keys and values.
    fn data(&mut self, _bucket: &Path<'_>, _bytes: &[u8]) {}
    /// Receives a key with its value. Adds a fault if the key or the value violates the rules of
    /// the application.
    fn entry(&mut self, entry: &Entry<'_>, faults: &mut Faults);
    /// Receives the number of bytes in the pages that have been checked so far.
    fn progress(&mut self, _bytes: u64) {}
}
