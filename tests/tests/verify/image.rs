//! A snapshot in memory, parsed only as far as the tests need to damage a given position.

use sha2::{Digest as _, Sha256};

pub(crate) const PAGE: usize = 4096;
const BRANCH: u8 = 1;
const LEAF: u8 = 2;

/// A snapshot without its digest.
#[derive(Debug, Clone)]
pub(crate) struct Image(pub(crate) Vec<u8>);

/// A page that is in use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) id: usize,
    pub(crate) leaf: bool,
    pub(crate) count: usize,
    pub(crate) overflow: usize,
}

impl Used {
    pub(crate) fn at(&self) -> usize {
        self.id * PAGE
    }

    /// Returns the position at which the table of elements ends and the keys start.
    pub(crate) fn data(&self) -> usize {
        self.at() + 16 + 16 * self.count
    }
}

impl Image {
    /// Returns the file with the correct digest of its content at the end.
    pub(crate) fn sealed(&self) -> Vec<u8> {
        [&self.0[..], Sha256::digest(&self.0).as_slice()].concat()
    }

    pub(crate) fn long(&self, at: usize) -> usize {
        let mut word = [0; 8];
        word.copy_from_slice(&self.0[at..at + 8]);
        usize::try_from(u64::from_le_bytes(word)).unwrap_or(usize::MAX)
    }

    fn short(&self, at: usize) -> usize {
        self.long(at) & 0xFFFF_FFFF
    }

    pub(crate) fn set_long(&mut self, at: usize, number: usize) {
        self.0[at..at + 8].copy_from_slice(&(number as u64).to_le_bytes());
    }

    /// Returns every page of the trees, from the root down.
    pub(crate) fn used(&self) -> Vec<Used> {
        let mut found = Vec::new();
        self.below(self.long(16 + 16), &mut found);
        found
    }

    fn below(&self, id: usize, found: &mut Vec<Used>) {
        let at = id * PAGE;
        let page = Used {
            id,
            leaf: self.0[at + 8] == LEAF,
            count: self.short(at + 10) & 0xFFFF,
            overflow: self.short(at + 12),
        };
        found.push(page);
        for row in (0..page.count).map(|n| at + 16 + 16 * n) {
            if self.0[at + 8] == BRANCH {
                self.below(self.long(row + 8), found);
            } else if self.0[row] == 1 {
                let root = self.long(row + self.short(row + 4) + self.short(row + 8));
                if root != 0 {
                    self.below(root, found);
                }
            }
        }
    }

    /// Sets a field in both meta pages, and updates their checksums.
    pub(crate) fn set_meta(&mut self, field: usize, number: usize) {
        for at in [16, PAGE + 16] {
            self.set_long(at + field, number);
        }
        self.sum_metas();
    }

    /// Updates the checksums of both meta pages.
    pub(crate) fn sum_metas(&mut self) {
        for at in [16, PAGE + 16] {
            let sum = self.0[at..at + 56]
                .iter()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
                });
            self.0[at + 56..at + 64].copy_from_slice(&sum.to_le_bytes());
        }
    }
}
