//! Checks a page of a tree with its overflow. The page must be a branch or a leaf, its keys must be
//! in order, and each of its parts must be at the offset at which bbolt writes it.

use crate::fault::shown;
use crate::page::{BRANCH, HEADER, LEAF};
use crate::read::{u16_at, u32_at, u64_at};

/// The length of an element, in bytes. A branch's element consists of the position (4), the key's
/// length (4) and the page id (8). A leaf's element consists of the flags (4), the position (4),
/// the key's length (4) and the value's length (4).
const ELEMENT: usize = 16;
/// The flag of a leaf element whose value is a bucket.
const BUCKET: u32 = 0x01;

/// The header of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) kind: u16,
    pub(crate) count: u16,
    pub(crate) overflow: u32,
}

impl Header {
    /// Parses the first [`HEADER`] bytes of a page.
    pub(crate) fn parse(page: &[u8]) -> Self {
        Self {
            id: u64_at(page, 0),
            kind: u16_at(page, 8),
            count: u16_at(page, 10),
            overflow: u32_at(page, 12),
        }
    }

    /// Returns whether the page is a branch or a leaf.
    pub(crate) fn is_node(&self) -> bool {
        self.kind == BRANCH || self.kind == LEAF
    }

    /// Returns the end of the page's table of elements, in bytes.
    pub(crate) fn table_end(&self) -> usize {
        HEADER + usize::from(self.count) * ELEMENT
    }

    /// Computes the end of the page's last element from the table. The argument `table` must
    /// contain at least the page's bytes up to the end of the table.
    pub(crate) fn extent(&self, table: &[u8]) -> u64 {
        let Some(last) = usize::from(self.count).checked_sub(1) else {
            return HEADER as u64;
        };
        let element = Element::parse(self.kind, table, last);
        element.start + element.key + element.value
    }
}

/// Returns the name of a part of an element, for a message.
fn element_part(index: usize, part: &str) -> String {
    format!("element {index}'s {part}")
}

/// One row of a page's table of elements.
struct Element {
    /// The offset in the page at which the key begins. The value follows the key.
    start: u64,
    key: u64,
    value: u64,
    flags: u32,
}

impl Element {
    fn parse(kind: u16, page: &[u8], index: usize) -> Self {
        let at = HEADER + index * ELEMENT;
        let word = |n: usize| u64::from(u32_at(page, at + 4 * n));
        if kind == BRANCH {
            Self {
                start: at as u64 + word(0),
                key: word(1),
                value: 0,
                flags: 0,
            }
        } else {
            Self {
                start: at as u64 + word(1),
                key: word(2),
                value: word(3),
                flags: u32_at(page, at),
            }
        }
    }
}

/// A fault inside a page: the fault's offset in the page, the expected value and the found value.
pub(crate) type Wrong = (usize, String, String);

/// A branch or leaf whose elements are all at the right positions and whose keys ascend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'a> {
    bytes: &'a [u8],
    kind: u16,
    count: usize,
    /// The end of the last element.
    end: usize,
}

/// One element of a leaf.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// The offset in the page at which the key begins.
    pub(crate) at: usize,
    pub(crate) key: &'a [u8],
    /// The value, which begins at the end of the key.
    pub(crate) value: &'a [u8],
    /// Whether the value is a bucket.
    pub(crate) is_bucket: bool,
}

impl<'a> Node<'a> {
    /// Checks a page with its overflow.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Wrong> {
        let header = Header::parse(bytes);
        let count = usize::from(header.count);
        if header.table_end() > bytes.len() {
            let expected = format!(
                "at most {} elements (there is no room for more)",
                (bytes.len() - HEADER) / ELEMENT
            );
            return Err((10, expected, count.to_string()));
        }
        let mut node = Self {
            bytes,
            kind: header.kind,
            count,
            end: header.table_end(),
        };
        let mut next = header.table_end() as u64;
        let mut before: Option<&[u8]> = None;
        for index in 0..count {
            let row = HEADER + index * ELEMENT;
            let element = Element::parse(header.kind, bytes, index);
            if element.start != next {
                let expected = format!("{} at byte {next} of the page", element_part(index, "key"));
                return Err((row, expected, element.start.to_string()));
            }
            next = element.start + element.key + element.value;
            if next > bytes.len() as u64 {
                let expected = format!(
                    "{} inside the page's {} bytes",
                    element_part(index, "end"),
                    bytes.len()
                );
                return Err((row, expected, next.to_string()));
            }
            node.check_fields(&element, index)?;
            let key = node.key(index);
            if let Some(before) = before
                && before >= key
            {
                let expected = format!("{} above {}", element_part(index, "key"), shown(before));
                return Err((node.key_at(index), expected, shown(key)));
            }
            before = Some(key);
        }
        node.end = at(next);
        Ok(node)
    }

    /// Checks the fields of an element's row, except the position.
    fn check_fields(&self, element: &Element, index: usize) -> Result<(), Wrong> {
        let row = HEADER + index * ELEMENT;
        if element.key == 0 {
            return Err((
                row,
                format!("{} not to be empty", element_part(index, "key")),
                "length 0".to_owned(),
            ));
        }
        if element.flags > BUCKET {
            return Err((
                row,
                format!("{} to be 0 or 1", element_part(index, "flags")),
                format!("{:#x}", element.flags),
            ));
        }
        if self.kind == BRANCH && self.child(index) < 2 {
            return Err((
                row + 8,
                element_part(index, "page to be 2 or more"),
                self.child(index).to_string(),
            ));
        }
        Ok(())
    }

    pub(crate) fn is_branch(&self) -> bool {
        self.kind == BRANCH
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns the offset in the page at which a key begins.
    pub(crate) fn key_at(&self, index: usize) -> usize {
        at(Element::parse(self.kind, self.bytes, index).start)
    }

    /// Returns a key.
    pub(crate) fn key(&self, index: usize) -> &'a [u8] {
        let element = Element::parse(self.kind, self.bytes, index);
        &self.bytes[at(element.start)..at(element.start + element.key)]
    }

    /// Returns a leaf's element.
    pub(crate) fn pair(&self, index: usize) -> Pair<'a> {
        let element = Element::parse(self.kind, self.bytes, index);
        let (start, middle) = (at(element.start), at(element.start + element.key));
        let value = &self.bytes[middle..middle + at(element.value)];
        Pair {
            at: start,
            key: &self.bytes[start..middle],
            value,
            is_bucket: element.flags & BUCKET != 0,
        }
    }

    /// Returns the bytes of all keys and values, each key followed by its value.
    pub(crate) fn data(&self) -> &'a [u8] {
        &self.bytes[HEADER + self.count * ELEMENT..self.end]
    }

    /// Returns the id of the page that a branch's element points to.
    pub(crate) fn child(&self, index: usize) -> u64 {
        u64_at(self.bytes, Self::child_at(index))
    }

    /// Returns the offset, within the page, of the page id that a branch element contains.
    pub(crate) fn child_at(index: usize) -> usize {
        HEADER + index * ELEMENT + 8
    }
}

/// Converts a position to a `usize`. The position was checked and is inside a slice, so the
/// conversion cannot fail.
fn at(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
