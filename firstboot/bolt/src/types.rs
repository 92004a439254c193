//! The types in which the walk over a database and its caller speak: what kind of file it is, where
//! something is in it, and what the caller is shown.

use crate::fault::Faults;

/// How the file came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Streamed out of one transaction: it ends with its last page, and both meta pages are that
    /// transaction's.
    Snapshot,
    /// The file a database lives in: longer than its pages need, and one of its meta pages may be
    /// half-written.
    Live,
}

/// Where a bucket is: its name and those around it.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// The bucket's name.
    pub name: &'a [u8],
    /// The bucket it is in; none for one of the outermost.
    pub parent: Option<&'a Path<'a>>,
}

/// A place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// The page.
    pub page: u64,
    /// The byte of the file.
    pub offset: u64,
}

/// A key with its value.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its bucket.
    pub bucket: &'a Path<'a>,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Where the key begins. The value follows it.
    pub place: Offset,
}

/// Who is shown everything on the way, in the order of the keys.
pub trait Visitor {
    /// A bucket begins. What is wrong with its name by a higher law is added to the faults.
    fn bucket(&mut self, _bucket: &Path<'_>, _place: Offset, _faults: &mut Faults) {}
    /// The keys and values of one leaf page, each value behind its key, in order: what a hash over
    /// all of them is made of.
    fn data(&mut self, _bucket: &Path<'_>, _bytes: &[u8]) {}
    /// A key with its value. What is wrong with them by a higher law is added to the faults.
    fn entry(&mut self, entry: &Entry<'_>, faults: &mut Faults);
    /// So many bytes of pages were looked at so far.
    fn progress(&mut self, _bytes: u64) {}
}
