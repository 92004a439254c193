//! A set of page ids.

/// One bit for each page.
#[derive(Debug)]
pub(crate) struct Bitmap(Vec<u64>);

impl Bitmap {
    /// An empty set for ids below `pages`.
    pub(crate) fn new(pages: u64) -> Self {
        let words = usize::try_from(pages.div_ceil(64)).expect("a file's pages fit the address space, a bit each");
        Self(vec![0; words])
    }

    /// Puts an id in; says whether it was not in before.
    pub(crate) fn insert(&mut self, id: u64) -> bool {
        let (word, bit) = place(id);
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// Whether an id is in; one that is out of range is not.
    pub(crate) fn contains(&self, id: u64) -> bool {
        let (word, bit) = place(id);
        self.0.get(word).is_some_and(|found| found & bit != 0)
    }

    /// How many are in.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

fn place(id: u64) -> (usize, u64) {
    (usize::try_from(id / 64).unwrap_or(usize::MAX), 1 << (id % 64))
}
