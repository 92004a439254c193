//! Tests that the memory use and the duration of a check do not depend on a file's actual or stated
//! length. The files are long but almost empty.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use bolt::{FileKind, ReadAt};

use crate::Visited;
use crate::writer::{NONE, PAGE, Writer, bucket, meta, pair};

/// A sparse file that counts the bytes read from it.
#[derive(Debug, Default)]
struct Sparse {
    pages: BTreeMap<u64, Vec<u8>>,
    read: AtomicUsize,
}

impl ReadAt for Sparse {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buffer.len(), Ordering::Relaxed);
        for (at, byte) in (offset..).zip(buffer) {
            let page = self.pages.get(&(at / PAGE as u64));
            *byte = page
                .and_then(|page| page.get(usize::try_from(at % PAGE as u64).unwrap()))
                .copied()
                .unwrap_or(0);
        }
        Ok(())
    }
}

impl Sparse {
    /// Builds a file from these bytes and two meta pages that state a length of `stated` pages.
    fn of(bytes: &[u8], root: u64, freelist: u64, stated: u64) -> Self {
        let mut pages: BTreeMap<u64, Vec<u8>> =
            (0..).zip(bytes.chunks(PAGE).map(<[u8]>::to_vec)).collect();
        for (id, txid) in [(0, 7), (1, 6)] {
            pages.insert(id, meta(id, root, freelist, stated, txid));
        }
        Self {
            pages,
            read: AtomicUsize::new(0),
        }
    }

    /// Returns the faults of the file, and the number of bytes read to find them.
    fn check(&self, stated: u64, file_kind: FileKind) -> (Vec<String>, usize) {
        let report = bolt::check(
            self,
            stated * PAGE as u64,
            file_kind,
            &mut Visited::default(),
        )
        .unwrap();
        (
            report
                .faults
                .first()
                .iter()
                .map(ToString::to_string)
                .collect(),
            self.read.load(Ordering::Relaxed),
        )
    }
}

/// The number of pages of the longest possible file.
const STATED: u64 = 1 << 50;

#[test]
fn a_long_file_with_a_small_tree_is_read_as_a_small_one() {
    let mut writer = Writer::new();
    let leaf = writer.leaf(&[pair("a", "b")]);
    let root = writer.leaf(&[bucket("tree", leaf)]);
    let bytes = writer.finish(root, NONE);
    let (faults, read) = Sparse::of(&bytes, root, NONE, STATED).check(STATED, FileKind::Live);
    assert_eq!(
        (faults, read < 1 << 20),
        (vec![], true),
        "{read} bytes were read"
    );
}

#[test]
fn lost_pages_are_counted_without_being_read() {
    let mut writer = Writer::new();
    let root = writer.leaf(&[]);
    let freelist = writer.freelist(&[]);
    let bytes = writer.finish(root, freelist);
    let (faults, _) = Sparse::of(&bytes, root, freelist, STATED).check(STATED, FileKind::Live);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].contains(&format!("{} pages from here on", STATED - 4)),
        "{faults:?}"
    );
}

#[test]
fn reading_a_sparse_freelist_stops_early() {
    let mut writer = Writer::new();
    let root = writer.leaf(&[]);
    let freelist = writer.freelist(&vec![7; 0x1_0000]);
    let mut bytes = writer.finish(root, freelist);
    let at = usize::try_from(freelist).unwrap() * PAGE;
    // The freelist states that it contains 2^39 free pages, and that it occupies as many pages as a
    // freelist of that length needs.
    bytes[at + 12..at + 16].fill(0xFF);
    bytes[at + 16..at + 24].copy_from_slice(&((1_u64 << 39) - 4).to_le_bytes());
    bytes.truncate(at + PAGE);
    let (faults, read) = Sparse::of(&bytes, root, freelist, STATED).check(STATED, FileKind::Live);
    assert!(
        faults.len() == bolt::Faults::KEPT && read < 1 << 20,
        "{} faults, {read} bytes",
        faults.len()
    );
}

/// Each page in this test has the form that bbolt writes. Each page contains one value of almost 40
/// MiB, so the page has a long overflow.
#[test]
fn long_pages_within_long_pages_are_refused() {
    let mut bytes = Writer::new().finish(2, NONE);
    let long = 40_u32 << 20;
    let span = u64::from(long) / PAGE as u64;
    let mut file = Sparse::of(&bytes, 2, NONE, STATED);
    for nth in 0..10 {
        let id = 2 + nth * span;
        bytes = Vec::new();
        bytes.extend(id.to_le_bytes());
        bytes.extend(2_u16.to_le_bytes());
        bytes.extend(2_u16.to_le_bytes());
        bytes.extend(u32::try_from(span - 1).unwrap().to_le_bytes());
        // The page is a leaf with two elements: a bucket, whose root is the next page, and a value
        // of almost 40 MiB.
        for word in [1_u32, 32, 1, 16, 0, 33, 1, long - 48 - 18 - 1] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.push(b'a');
        bytes.extend((id + span).to_le_bytes());
        bytes.extend([0; 8]);
        bytes.push(b'b');
        file.pages.insert(id, bytes);
    }
    let (faults, read) = file.check(STATED, FileKind::Live);
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("from the root to this one")),
        "{faults:?}"
    );
    assert!(read < 100 << 20, "{read}");
}
