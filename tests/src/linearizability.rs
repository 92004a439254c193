//! Checks whether the history of one key is linearizable (Herlihy and Wing, 1990). In a
//! linearizable history, each operation takes effect at one instant between its start and its end,
//! and the order of these instants explains all answers.
//!
//! The search is Wing and Gong's (1993). An operation can be the first to take effect only if it
//! started before any other operation ended. The search tries each of these operations as the
//! first, and orders the remaining operations in the same way. The search remembers the states that
//! it has tried (Lowe, 2017), so concurrent operations cost little time.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

/// A client's action on the key. Each value is written only once, so a value identifies its writer.
/// `None` means that the key does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The client read this value.
    Read(Option<u64>),
    /// The client wrote this value.
    Write(u64),
    /// The client replaced the first value with the second value, or tried to and received no
    /// answer.
    CompareAndSwap(Option<u64>, u64),
    /// The client tried to replace the first value, but found the second value instead.
    Refused(Option<u64>, Option<u64>),
}

/// An operation, with its start and its end measured on the same clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// The client that performed the operation.
    pub client: usize,
    /// The time when the operation was sent.
    pub begun: u64,
    /// The time when the answer arrived. `None` means that no answer arrived. In this case, the
    /// operation may have been performed at any time after `begun`, or never.
    pub ended: Option<u64>,
    /// The client's action.
    pub action: Action,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self
            .ended
            .map_or_else(|| "never".to_owned(), |at| at.to_string());
        write!(
            f,
            "client {} from {} to {ended}: {:?}",
            self.client, self.begun, self.action
        )
    }
}

/// Returns the key's value after the action is applied to `state`, if the action is possible in
/// that state.
fn apply(deed: Action, state: Option<u64>) -> Result<Option<u64>, Impossible> {
    let (possible, after) = match deed {
        Action::Read(seen) => (seen == state, state),
        Action::Write(value) => (true, Some(value)),
        Action::CompareAndSwap(expected, value) => (expected == state, Some(value)),
        Action::Refused(expected, seen) => (seen == state && expected != state, state),
    };
    if possible { Ok(after) } else { Err(Impossible) }
}

/// The error for an action that is not possible in a state.
struct Impossible;

/// Returns the values that the key must have had, according to the answers.
fn visible_values(history: &[Operation]) -> BTreeSet<u64> {
    let seen = history.iter().filter(|operation| operation.ended.is_some());
    let values = seen.filter_map(|operation| match operation.action {
        Action::Read(value) | Action::Refused(_, value) | Action::CompareAndSwap(value, _) => value,
        Action::Write(_) => None,
    });
    values.collect()
}

/// Searches for an order of one key's operations that explains all answers. At the start of the
/// history, the key has no value.
///
/// # Errors
/// Returns the history as an error if no order explains all answers.
pub fn check(history: &[Operation]) -> Result<(), String> {
    // Omit unanswered reads. Also omit an unanswered write or compare-and-swap if no answer
    // contains its new value and no compare-and-swap expects that value. The omitted operations
    // cannot explain any answer.
    let seen = visible_values(history);
    let mut operations: Vec<Operation> = history
        .iter()
        .filter(|operation| match (operation.ended, operation.action) {
            (Some(_), _) => true,
            (None, Action::Write(value) | Action::CompareAndSwap(_, value)) => {
                seen.contains(&value) || chained(history, value)
            }
            (None, _) => false,
        })
        .copied()
        .collect();
    operations.sort_by_key(|operation| operation.begun);
    if Search::new(&operations).succeeds() {
        return Ok(());
    }
    let lines: Vec<String> = operations.iter().map(ToString::to_string).collect();
    Err(format!(
        "no order of these operations explains the answers:\n{}",
        lines.join("\n")
    ))
}

/// Returns whether any compare-and-swap, even an unanswered one, expects this value.
fn chained(history: &[Operation], value: u64) -> bool {
    history.iter().any(|operation| matches!(operation.action, Action::CompareAndSwap(Some(expected), _) if expected == value))
}

/// The operations that have taken place, and the value of the key after them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done {
    /// All operations before this index, in the order of their start, have taken place.
    before: usize,
    /// If bit `n` is set, operation `before + n` has also taken place.
    more: Vec<u64>,
    state: Option<u64>,
}

struct Search<'a> {
    operations: &'a [Operation],
    tried: HashSet<Done>,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        Self {
            operations,
            tried: HashSet::new(),
        }
    }

    fn succeeds(&mut self) -> bool {
        let mut open = vec![(vec![false; self.operations.len()], None)];
        while let Some((done, state)) = open.pop() {
            let left = || (0..self.operations.len()).filter(|at| !done[*at]);
            // If all remaining operations are unanswered, possibly none of them was performed, so
            // the search is over.
            let Some(first_end) = left().filter_map(|at| self.operations[at].ended).min() else {
                return true;
            };
            let mut next = Vec::new();
            for at in left().take_while(|at| self.operations[*at].begun <= first_end) {
                if let Ok(state) = apply(self.operations[at].action, state) {
                    let mut done = done.clone();
                    done[at] = true;
                    next.push((done, state));
                }
            }
            for (done, state) in next {
                if self.tried.insert(pack(&done, state)) {
                    open.push((done, state));
                }
            }
        }
        false
    }
}

fn pack(done: &[bool], state: Option<u64>) -> Done {
    let before = done.iter().position(|done| !done).unwrap_or(done.len());
    let words = done[before..].chunks(64).map(|chunk| {
        chunk
            .iter()
            .enumerate()
            .fold(0, |word, (bit, done)| word | u64::from(*done) << bit)
    });
    let mut more: Vec<u64> = words.collect();
    while more.last() == Some(&0) {
        more.pop();
    }
    Done {
        before,
        more,
        state,
    }
}

#[cfg(test)]
mod tests;
