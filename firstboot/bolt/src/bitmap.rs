//! Defines a set of page ids.

use std::collections::BTreeMap;

/// The number of words in a chunk.
const WORDS: usize = 16;
/// The number of ids in a chunk.
const CHUNK: u64 = 64 * WORDS as u64;

/// A set with one bit for each page. Only chunks that contain an id use memory, so the memory use
/// does not depend on the page count that a file states.
#[derive(Debug, Default)]
pub(crate) struct Bitmap(BTreeMap<u64, [u64; WORDS]>);

impl Bitmap {
    /// Adds an id. Returns whether the id is new to the set.
    pub(crate) fn insert(&mut self, id: u64) -> bool {
        let (word, bit) = place(id);
        let chunk = self.0.entry(id / CHUNK).or_insert([0; WORDS]);
        let new = chunk[word] & bit == 0;
        chunk[word] |= bit;
        new
    }

    /// Returns whether the set contains an id.
    pub(crate) fn contains(&self, id: u64) -> bool {
        let (word, bit) = place(id);
        self.0
            .get(&(id / CHUNK))
            .is_some_and(|chunk| chunk[word] & bit != 0)
    }

    /// Returns the number of ids in the set.
    pub(crate) fn count(&self) -> u64 {
        self.0
            .values()
            .flat_map(|chunk| chunk.iter())
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// Returns the lowest id in the set that is not below `from`.
    pub(crate) fn next(&self, from: u64) -> Option<u64> {
        self.0.range(from / CHUNK..).find_map(|(chunk, words)| {
            let start = chunk * CHUNK;
            let first = from.saturating_sub(start);
            (first..CHUNK)
                .find(|at| words[place(*at).0] & place(*at).1 != 0)
                .map(|at| start + at)
        })
    }
}

/// Returns the position of an id's bit: the index of the word in its chunk, and the mask of the bit
/// in the word.
fn place(id: u64) -> (usize, u64) {
    // On every supported platform, an id divided by 64 fits into a usize, so the conversion cannot
    // fail.
    (
        usize::try_from(id / 64).unwrap_or(usize::MAX) % WORDS,
        1 << (id % 64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_far_apart_use_little_memory_and_are_returned_in_order() {
        let mut set = Bitmap::default();
        let ids = [0, 63, 64, CHUNK - 1, CHUNK, 1 << 51];
        assert!(ids.iter().all(|id| set.insert(*id)) && !set.insert(64));
        assert_eq!((set.count(), set.0.len()), (6, 3));
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(id) = set.next(from) {
            found.push(id);
            from = id + 1;
        }
        assert_eq!(found, ids);
        assert!(set.contains(CHUNK) && !set.contains(CHUNK + 1) && !set.contains(1 << 40));
    }
}
