//! Walks the tree of buckets.

mod load;

use std::io;

use crate::bitmap::Bitmap;
use crate::fault::{Faults, shown};
use crate::node::{Header, Node, Pair};
use crate::page::{self, HEADER};
use crate::read::{Pages, ReadAt, u64_at};
use crate::types::{Entry, Offset, Path, Visitor};

/// The maximum depth of a tree, including nested buckets. Real trees are much shallower, because a
/// page has room for dozens of keys, and bbolt splits a full page in half.
const DEEPEST: usize = 64;
/// The maximum total length of the pages from the root to the current page. One page can contain
/// two long records, so the limit of 64 MiB allows all records of up to 32 MiB. etcd accepts
/// requests of 1.5 MiB, and warns if it is configured to accept more than 10 MiB.
const LONGEST: u64 = 64 << 20;
/// The maximum length of a buffer that the walk reuses.
const SPARE: usize = 64 << 10;
/// The length of the header of a bucket's value: the id of the root page (8 bytes) and the sequence
/// number (8). If the id is 0, a leaf page follows the sequence number.
const BUCKET: usize = 16;

pub(crate) struct Tree<'w, R: ReadAt + ?Sized> {
    pub(crate) pages: Pages<'w, R>,
    pub(crate) size: u64,
    pub(crate) used: Bitmap,
    pub(crate) free: Option<Bitmap>,
    pub(crate) faults: Faults,
    pub(crate) complete: bool,
    pub(crate) looked_at: u64,
    pub(crate) visit: &'w mut dyn Visitor,
    /// Buffers of pages that are no longer needed.
    pub(crate) spare: Vec<Vec<u8>>,
    /// The total length of the pages from the root to the current page, in bytes.
    pub(crate) held: u64,
}

/// The requirements that follow from a page's position in the tree.
#[derive(Clone, Copy)]
struct Expected<'a> {
    /// The location of the pointer that leads to the page.
    from: Offset,
    /// The lower bound of the page's keys, inclusive.
    min: Option<&'a [u8]>,
    /// The upper bound of the page's keys, exclusive.
    max: Option<&'a [u8]>,
    /// The number of pages above the page.
    depth: usize,
    /// The page's bucket, or `None` if the page belongs to the bucket that contains all buckets.
    bucket: Option<&'a Path<'a>>,
}

impl<R: ReadAt + ?Sized> Tree<'_, R> {
    /// Walks the bucket that contains all buckets, and everything below it.
    pub(crate) fn root(&mut self, id: u64) -> io::Result<()> {
        let from = Offset {
            page: 0,
            offset: HEADER as u64 + 16,
        };
        self.page(
            id,
            Expected {
                from,
                min: None,
                max: None,
                depth: 0,
                bucket: None,
            },
        )
    }

    /// Returns the exclusive upper bound of the page ids.
    fn end(&self) -> u64 {
        self.pages.end() / self.size
    }

    fn wrong(&mut self, at: Offset, expected: impl Into<String>, found: impl Into<String>) {
        self.complete = false;
        self.faults.add(Some(at.page), at.offset, expected, found);
    }

    fn page(&mut self, id: u64, expected: Expected<'_>) -> io::Result<()> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        if self.load(&mut bytes, id, expected)? {
            let length = bytes.len() as u64;
            self.held += length;
            let start = Offset {
                page: id,
                offset: id * self.size,
            };
            match Node::parse(&bytes) {
                Ok(node) => self.node(node, start, expected)?,
                Err((at, expected, found)) => self.wrong(inside(start, at), expected, found),
            }
            self.held -= length;
        }
        if bytes.capacity() <= SPARE {
            bytes.clear();
            self.spare.push(bytes);
        }
        Ok(())
    }

    /// Checks that a page's keys fit its position in the tree, and continues with the pages below
    /// it.
    fn node(&mut self, node: Node<'_>, start: Offset, expected: Expected<'_>) -> io::Result<()> {
        let Some(last) = node.count().checked_sub(1) else {
            // Only the root page of a bucket may be empty: a bucket without keys has an empty leaf
            // as its root.
            let root = expected.min.is_none() && expected.max.is_none();
            if node.is_branch() || !root {
                self.wrong(inside(start, 10), "a page with keys", "no keys");
            }
            return Ok(());
        };
        if let Some(min) = expected.min
            && node.key(0) < min
        {
            let key = shown(node.key(0));
            self.wrong(
                inside(start, node.key_at(0)),
                format!("no key below {} (as the parent page states)", shown(min)),
                key,
            );
            return Ok(());
        }
        if let Some(max) = expected.max
            && node.key(last) >= max
        {
            let key = shown(node.key(last));
            self.wrong(
                inside(start, node.key_at(last)),
                format!("only keys below {} (as the parent page states)", shown(max)),
                key,
            );
            return Ok(());
        }
        if let (false, Some(bucket)) = (node.is_branch(), expected.bucket) {
            self.visit.data(bucket, node.data());
        }
        for index in 0..=last {
            if node.is_branch() {
                let max = if index < last {
                    Some(node.key(index + 1))
                } else {
                    expected.max
                };
                let from = inside(start, Node::child_at(index));
                let below = Expected {
                    from,
                    min: Some(node.key(index)),
                    max,
                    depth: expected.depth + 1,
                    ..expected
                };
                self.page(node.child(index), below)?;
            } else {
                self.pair(node.pair(index), start, expected)?;
            }
        }
        Ok(())
    }

    fn pair(&mut self, pair: Pair<'_>, start: Offset, expected: Expected<'_>) -> io::Result<()> {
        let Pair { key, value, .. } = pair;
        let place = inside(start, pair.at);
        if !pair.is_bucket {
            self.entry(pair, place, expected.bucket);
            return Ok(());
        }
        let at = Offset {
            offset: place.offset + key.len() as u64,
            ..place
        };
        if value.len() < BUCKET {
            self.wrong(
                at,
                format!("a bucket of {BUCKET} bytes or more"),
                value.len().to_string(),
            );
            return Ok(());
        }
        let path = Path {
            name: key,
            parent: expected.bucket,
        };
        let below = Expected {
            from: at,
            min: None,
            max: None,
            depth: expected.depth + 1,
            bucket: Some(&path),
        };
        let root = u64_at(value, 0);
        if root != 0 {
            if value.len() != BUCKET {
                self.wrong(
                    at,
                    format!("a bucket of {BUCKET} bytes (the bucket is not inline)"),
                    value.len().to_string(),
                );
                return Ok(());
            }
            self.visit.bucket(&path, place, &mut self.faults);
            return self.page(root, below);
        }
        self.visit.bucket(&path, place, &mut self.faults);
        self.inline(
            &value[BUCKET..],
            Offset {
                offset: at.offset + BUCKET as u64,
                ..at
            },
            below,
        )
    }

    /// Passes a key and its value to the visitor. A key outside all buckets is a fault, because the
    /// top level may contain only buckets.
    fn entry(&mut self, pair: Pair<'_>, place: Offset, bucket: Option<&Path<'_>>) {
        let Pair { key, value, .. } = pair;
        match bucket {
            Some(bucket) => self.visit.entry(
                &Entry {
                    bucket,
                    key,
                    value,
                    place,
                },
                &mut self.faults,
            ),
            None => self.wrong(
                place,
                "only buckets at the top level",
                format!("the key {}", shown(key)),
            ),
        }
    }

    /// Checks an inline bucket, whose only page is inside its parent's page.
    fn inline(&mut self, bytes: &[u8], start: Offset, expected: Expected<'_>) -> io::Result<()> {
        if bytes.len() < HEADER {
            self.wrong(
                start,
                "an inline bucket's page",
                format!("{} bytes", bytes.len()),
            );
            return Ok(());
        }
        if expected.depth > DEEPEST {
            self.wrong(start, format!("a tree of at most {DEEPEST} levels"), "more");
            return Ok(());
        }
        let header = Header::parse(bytes);
        if header.kind != page::LEAF {
            self.wrong(
                inside(start, 8),
                "an inline leaf page",
                page::kind(header.kind),
            );
            return Ok(());
        }
        if header.id != 0 || header.overflow != 0 {
            self.wrong(
                start,
                "an inline page with the id 0 and the overflow 0",
                format!("{} and {}", header.id, header.overflow),
            );
            return Ok(());
        }
        match Node::parse(bytes) {
            Ok(_) if header.extent(bytes) != bytes.len() as u64 => {
                let expected = format!(
                    "an inline page of {} bytes (the last element ends there)",
                    header.extent(bytes)
                );
                self.wrong(start, expected, bytes.len().to_string());
                Ok(())
            }
            Ok(node) => self.node(node, start, expected),
            Err((at, expected, found)) => {
                self.wrong(inside(start, at), expected, found);
                Ok(())
            }
        }
    }
}

fn inside(start: Offset, at: usize) -> Offset {
    Offset {
        offset: start.offset + at as u64,
        ..start
    }
}
