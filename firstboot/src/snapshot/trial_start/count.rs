//! Computes from the file the values that a running etcd reports: the number of live keys, and the
//! hash.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;

use anyhow::{Context as _, Result};
use bolt::{Entry, Faults, FileKind, Visitor};

use crate::snapshot::examine::{TRAILER, TrailingDigest, VerifiedSnapshot};
use crate::snapshot::schema::record::{Record, Revision};

/// The approximate maximum number of keys whose hashes are in memory at the same time. firstboot
/// divides the keys into groups of about this size, and reads the file once for each group.
const AT_ONCE: u64 = 200_000;

#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The number of keys at the newest revision.
    pub(super) live: u64,
    /// HashKV at the newest revision: the CRC-32C of the bucket's name and of all revisions. A
    /// revision up to the compacted revision is included only if it is the newest revision of its
    /// key and not a deletion (mvcc/hash.go).
    pub(super) hash: u32,
}

/// Computes the values. Reads the file as many times as necessary.
pub(super) fn count(path: &Path, verified: &VerifiedSnapshot) -> Result<Counted> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let (pages, form) = match verified.digest {
        TrailingDigest::Absent => (verified.size, FileKind::Live),
        TrailingDigest::Good | TrailingDigest::Wrong => {
            (verified.size - TRAILER, FileKind::Snapshot)
        }
    };
    let walk = |visit: &mut dyn Visitor| {
        bolt::check(&file, pages, form, visit)
            .with_context(|| format!("cannot read {}", path.display()))
    };
    let shares = verified.keys.div_ceil(AT_ONCE).max(1);
    let hasher = RandomState::new();
    let mut history = History {
        compacted: verified.compacted,
        outlived: Vec::new(),
    };
    let mut live = 0;
    for share in 0..shares {
        let mut turn = Pass {
            share,
            shares,
            hasher: &hasher,
            newest: HashMap::new(),
            history: &mut history,
            record: 0,
        };
        walk(&mut turn)?;
        live += turn.newest.len() as u64;
    }
    if live == 0 {
        // As in etcd, include all revisions if there is no live key.
        history.outlived.clear();
    }
    let mut sum = Sum {
        hash: crc32c::crc32c(b"key"),
        history: &history,
        record: 0,
    };
    walk(&mut sum)?;
    Ok(Counted {
        live,
        hash: sum.hash,
    })
}

/// The records that the hash excludes. The hash excludes a record up to the compacted revision if
/// the record is a deletion, or if the same key has a newer record.
struct History {
    compacted: i64,
    outlived: Vec<u64>,
}

impl History {
    fn outlive(&mut self, record: usize) {
        if self.outlived.len() <= record / 64 {
            self.outlived.resize(record / 64 + 1, 0);
        }
        self.outlived[record / 64] |= 1 << (record % 64);
    }

    fn is_outlived(&self, record: usize) -> bool {
        self.outlived
            .get(record / 64)
            .is_some_and(|word| word >> (record % 64) & 1 == 1)
    }
}

/// One pass over the file, for one group of keys.
struct Pass<'a> {
    share: u64,
    shares: u64,
    hasher: &'a RandomState,
    /// The live keys. Each value is the position of the key's newest record among all records, or
    /// `None` if the revision of that record is above the compacted revision.
    newest: HashMap<u64, Option<usize>>,
    history: &'a mut History,
    /// The position of the next record among all records.
    record: usize,
}

impl Visitor for Pass<'_> {
    fn entry(&mut self, entry: &Entry<'_>, _: &mut Faults) {
        if entry.bucket.name != b"key" {
            return;
        }
        let number = self.record;
        self.record += 1;
        let (Some(revision), Some(record)) =
            (Revision::parse(entry.key), Record::parse(entry.value))
        else {
            return;
        };
        let key = self.hasher.hash_one(record.key);
        if key % self.shares != self.share {
            return;
        }
        let own = (revision.main <= self.history.compacted).then_some(number);
        let before = if revision.deletion {
            if let Some(own) = own {
                self.history.outlive(own);
            }
            self.newest.remove(&key)
        } else {
            self.newest.insert(key, own)
        };
        if let Some(Some(before)) = before {
            self.history.outlive(before);
        }
    }
}

/// The last pass, which computes the hash.
struct Sum<'a> {
    hash: u32,
    history: &'a History,
    record: usize,
}

impl Visitor for Sum<'_> {
    fn entry(&mut self, entry: &Entry<'_>, _: &mut Faults) {
        if entry.bucket.name != b"key" {
            return;
        }
        if !self.history.is_outlived(self.record) {
            self.hash =
                crc32c::crc32c_append(crc32c::crc32c_append(self.hash, entry.key), entry.value);
        }
        self.record += 1;
    }
}
