//! Reads the two meta pages, each of which contains the page size, the high-water mark, and the ids
//! of the root page, the freelist's page and the transaction.

use std::io;

use crate::fault::Faults;
use crate::page::{self, HEADER};
use crate::read::{ReadAt, u16_at, u32_at, u64_at};
use crate::types::FileKind;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// The total length of a meta page's header, fields and checksum.
const LENGTH: usize = HEADER + 64;
/// The accepted page sizes, which include the page size of every system that Go supports.
const PAGE_SIZES: [u32; 7] = [
    1 << 10,
    1 << 11,
    1 << 12,
    1 << 13,
    1 << 14,
    1 << 15,
    1 << 16,
];
/// The value that replaces the freelist's page id if the freelist was not written, as in etcd's
/// databases. In a file without a freelist, every page that is not reachable is free.
const NO_FREELIST: u64 = u64::MAX;

/// A fault of a meta page: its offset in the page, the expected value and the found value.
type Wrong = (u64, String, String);

/// A valid meta page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The size of every page, in bytes.
    pub page_size: u32,
    /// The root page of the bucket that contains all buckets.
    pub root: u64,
    /// The page with the list of free pages, if there is one.
    pub freelist: Option<u64>,
    /// The high-water mark: the ids of all pages are lower than this number.
    pub pages: u64,
    /// The id of the transaction that wrote this meta page.
    pub txid: u64,
}

impl Meta {
    fn parse(page: &[u8; LENGTH]) -> Result<Self, Wrong> {
        let field = |at: usize| u32_at(page, HEADER + at);
        let long = |at: usize| u64_at(page, HEADER + at);
        let wrong = |at: usize, expected: String, found: String| Err((at as u64, expected, found));
        let sum = fnv64a(&page[HEADER..HEADER + 56]);
        if field(0) != MAGIC {
            return wrong(
                HEADER,
                format!("bbolt's magic number {MAGIC:08x}"),
                format!("{:08x}", field(0)),
            );
        }
        if field(4) != VERSION {
            return wrong(
                HEADER + 4,
                format!("format version {VERSION}"),
                field(4).to_string(),
            );
        }
        if long(56) != sum {
            return wrong(
                HEADER + 56,
                format!("the checksum {sum:016x}"),
                format!("{:016x}", long(56)),
            );
        }
        if !PAGE_SIZES.contains(&field(8)) {
            return wrong(
                HEADER + 8,
                "a page size from 1 KiB to 64 KiB".to_owned(),
                field(8).to_string(),
            );
        }
        let freelist = (long(32) != NO_FREELIST).then_some(long(32));
        Ok(Self {
            page_size: field(8),
            root: long(16),
            freelist,
            pages: long(40),
            txid: long(48),
        })
    }
}

/// Finds the current meta page. In a [`FileKind::Snapshot`], faults of the other meta page also
/// count. In a live file, faults of the other meta page do not count, because a power cut can leave
/// one of the two meta pages half-written.
pub(crate) fn find<R: ReadAt + ?Sized>(
    file: &R,
    len: u64,
    file_kind: FileKind,
    faults: &mut Faults,
) -> io::Result<Option<Meta>> {
    let Some(first) = Page::read(file, len, 0)? else {
        faults.add(None, 0, "two meta pages", format!("a file of {len} bytes"));
        return Ok(None);
    };
    let second = match &first.meta {
        Ok(meta) => Page::read(file, len, u64::from(meta.page_size))?,
        // If the first meta page does not state the page size, the position of the second meta page
        // is unknown.
        Err(_) => Page::search(file, len)?,
    };
    let mut metas = Vec::new();
    let mut wrong = Vec::new();
    for (number, page) in (0..).zip([Some(first), second].into_iter().flatten()) {
        match page.meta {
            Ok(meta) => {
                if page.id != number {
                    faults.add(
                        Some(number),
                        page.offset,
                        format!("the page's id, {number}"),
                        page.id.to_string(),
                    );
                }
                if page.kind != page::META {
                    faults.add(
                        Some(number),
                        page.offset + 8,
                        "a meta page",
                        page::kind(page.kind),
                    );
                }
                if page.rest != 0 {
                    faults.add(
                        Some(number),
                        page.offset + 10,
                        "a count and an overflow of 0",
                        "other values",
                    );
                }
                metas.push(meta);
            }
            Err((at, expected, found)) => wrong.push((number, page.offset + at, expected, found)),
        }
    }
    if metas.is_empty() || file_kind == FileKind::Snapshot {
        for (number, offset, expected, found) in wrong {
            faults.add(Some(number), offset, expected, found);
        }
    }
    if let [first, second] = metas.as_slice() {
        let at = u64::from(first.page_size);
        if let Some(expected) = disagreement(file_kind, first, second) {
            faults.add(
                Some(1),
                at,
                expected,
                format!("{second:?}, but the first is {first:?}"),
            );
        }
    }
    Ok(metas.into_iter().reduce(newer))
}

fn newer(a: Meta, b: Meta) -> Meta {
    if b.txid > a.txid { b } else { a }
}

/// Compares two valid meta pages of one file. If they do not match, returns a description of the
/// expected second meta page; otherwise, returns `None`.
fn disagreement(file_kind: FileKind, first: &Meta, second: &Meta) -> Option<&'static str> {
    // When bbolt streams a database, it writes the fields of one transaction into both meta pages,
    // but it writes the previous transaction's id into the second meta page.
    let streamed = Meta {
        txid: first.txid.wrapping_sub(1),
        ..first.clone()
    };
    match file_kind {
        FileKind::Snapshot => (*second != streamed)
            .then_some("the first meta page's fields with the previous transaction's id"),
        FileKind::Live => {
            // bbolt writes the two pages alternately. If a file was streamed and then used as a
            // database, bbolt's first write may replace the newer of the two pages, so their
            // transaction ids may differ by two. The number of pages in a file never decreases.
            let (old, new) = if first.txid > second.txid {
                (second, first)
            } else {
                (first, second)
            };
            let fits = (1..=2).contains(&(new.txid - old.txid)) && new.pages >= old.pages;
            let fits = fits && new.page_size == old.page_size;
            (!fits).then_some(
                "a meta page written one or two transactions before or after the first meta page",
            )
        }
    }
}

/// Returns the length of the database that begins with these bytes, according to its meta pages.
/// Returns `None` if neither meta page is valid. The bytes must extend to the end of the second
/// meta page. [`META_PAGES`] bytes are always enough.
pub fn stated_length(begin: &[u8]) -> Option<u64> {
    let mut faults = Faults::default();
    let meta = find(begin, begin.len() as u64, FileKind::Live, &mut faults).ok()??;
    meta.pages.checked_mul(u64::from(meta.page_size))
}

/// The number of bytes at the beginning of a file that contain both meta pages, for any page size.
pub const META_PAGES: usize = (1 << 16) + LENGTH;

/// The content of a page that is expected to be a meta page.
struct Page {
    offset: u64,
    id: u64,
    kind: u16,
    /// The page's count and overflow, which must be 0 in a meta page.
    rest: u64,
    meta: Result<Meta, Wrong>,
}

impl Page {
    fn read<R: ReadAt + ?Sized>(file: &R, len: u64, offset: u64) -> io::Result<Option<Self>> {
        let mut page = [0; LENGTH];
        if offset + LENGTH as u64 > len {
            return Ok(None);
        }
        file.read_exact_at(&mut page, offset)?;
        let (id, kind, rest) = (u64_at(&page, 0), u16_at(&page, 8), u64_at(&page, 8) >> 16);
        Ok(Some(Self {
            offset,
            id,
            kind,
            rest,
            meta: Meta::parse(&page),
        }))
    }

    /// Finds the second meta page of a file whose first meta page is damaged. The second meta page
    /// must state a page size that is equal to its own offset.
    fn search<R: ReadAt + ?Sized>(file: &R, len: u64) -> io::Result<Option<Self>> {
        for size in PAGE_SIZES {
            let page = Self::read(file, len, u64::from(size))?;
            if page
                .as_ref()
                .is_some_and(|page| page.meta.as_ref().is_ok_and(|meta| meta.page_size == size))
            {
                return Ok(page);
            }
        }
        Ok(None)
    }
}

fn fnv64a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
