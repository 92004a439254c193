//! Tests that the check finds no faults in good files, and that it reports each fault of a damaged
//! file with its location.

mod damage;
mod good;
mod random;
mod sparse;
mod writer;

use bolt::{Entry, Faults, FileKind, Path, Report, Visitor};

use writer::{Element, NONE, Writer, bucket, inline, pair};

/// A visitor that collects entries as `bucket/key=value`.
#[derive(Debug, Default)]
struct Visited {
    pairs: Vec<String>,
    /// The keys and values of all entries. `data` contains the keys and values of all leaf pages.
    entries: Vec<u8>,
    data: Vec<u8>,
}

impl Visitor for Visited {
    fn data(&mut self, _: &Path<'_>, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    fn entry(&mut self, entry: &Entry<'_>, _: &mut Faults) {
        self.entries.extend_from_slice(entry.key);
        self.entries.extend_from_slice(entry.value);
        let mut path = String::new();
        let mut bucket: Option<&Path<'_>> = Some(entry.bucket);
        while let Some(here) = bucket {
            path = format!("{}/{path}", String::from_utf8_lossy(here.name));
            bucket = here.parent;
        }
        let value = if entry.value.len() > 20 {
            format!("{} bytes", entry.value.len())
        } else {
            lossy(entry.value)
        };
        self.pairs
            .push(format!("{path}{}={value}", lossy(entry.key)));
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn look(bytes: &[u8], file_kind: FileKind) -> (Report, Vec<String>) {
    let mut seen = Visited::default();
    let report = bolt::check(bytes, bytes.len() as u64, file_kind, &mut seen)
        .expect("bytes in memory can be read");
    (report, seen.pairs)
}

/// Returns the faults of a snapshot.
fn faults(bytes: &[u8]) -> Vec<String> {
    look(bytes, FileKind::Snapshot)
        .0
        .faults
        .first()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The page ids of the parts of [`sample`].
#[derive(Debug, Clone, Copy)]
struct Places {
    first: u64,
    long: u64,
    branch: u64,
    root: u64,
    freelist: u64,
}

/// Builds a file with every kind of content: a tree of two levels, a page with overflow, an inline
/// bucket, a nested bucket and, if requested, a freelist.
fn sample(freelist: bool) -> (Writer, Vec<u8>, Places) {
    let mut writer = Writer::new();
    let unused = writer.unused();
    let first = writer.leaf(&[pair("a1", "one"), pair("a2", "two")]);
    let elements: [Element; 2] = [
        pair("b1", &"x".repeat(3000)),
        inline("b2", &[pair("in", "side")]),
    ];
    let long = writer.leaf(&elements);
    let branch = writer.branch(&[(b"a1", first), (b"b1", long)]);
    let root = writer.leaf(&[inline("empty", &[]), bucket("tree", branch)]);
    let freelist = if freelist {
        writer.freelist(&[unused])
    } else {
        NONE
    };
    let bytes = writer.finish(root, freelist);
    (
        writer,
        bytes,
        Places {
            first,
            long,
            branch,
            root,
            freelist,
        },
    )
}
