//! Replaces large values with small numbers, so that a state of the whole model needs little
//! memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// A table that assigns numbers to values. Equal values get equal numbers.
#[derive(Debug)]
pub(crate) struct Table<T> {
    pub(crate) values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Table<T> {
    pub(crate) fn new() -> Self {
        Self {
            values: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    pub(crate) fn number(&mut self, value: T) -> u32 {
        match self.numbers.entry(value) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let number = u32::try_from(self.values.len()).unwrap();
                self.values.push(new.key().clone());
                *new.insert(number)
            }
        }
    }
}
