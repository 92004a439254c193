//! Whether all that clients saw of one key can have happened one thing after the other, each while
//! it was under way: whether it is linearizable (Herlihy and Wing, 1990).
//!
//! The search is Wing and Gong's (1993): of the operations that had begun before any other had
//! ended, one took place first; each is tried. States that were tried are remembered (Lowe, 2017),
//! so that what is concurrent costs little.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

/// What a client did with the key. Each value is written once, so that a value says who wrote it;
/// none: there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It read this.
    Read(Option<u64>),
    /// It wrote this.
    Write(u64),
    /// It exchanged the first for the second, or was not answered.
    Exchange(Option<u64>, u64),
    /// It was to exchange the first, and saw the second in its place.
    Refused(Option<u64>, Option<u64>),
}

/// One operation: when it began and ended, by one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// By which client.
    pub client: usize,
    /// When it was sent.
    pub begun: u64,
    /// When its answer came; none: it never did, so it was done at any time since, or never.
    pub ended: Option<u64>,
    /// What it was.
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

/// What the key holds after a deed that finds this, if it can be done then.
fn after(deed: Action, state: Option<u64>) -> Result<Option<u64>, Impossible> {
    let (possible, after) = match deed {
        Action::Read(seen) => (seen == state, state),
        Action::Write(value) => (true, Some(value)),
        Action::Exchange(expected, value) => (expected == state, Some(value)),
        Action::Refused(expected, seen) => (seen == state && expected != state, state),
    };
    if possible { Ok(after) } else { Err(Impossible) }
}

/// The deed cannot have found that.
struct Impossible;

/// The values that anybody saw.
fn seen(history: &[Operation]) -> BTreeSet<u64> {
    let seen = history.iter().filter(|operation| operation.ended.is_some());
    let values = seen.filter_map(|operation| match operation.action {
        Action::Read(value) | Action::Refused(_, value) | Action::Exchange(value, _) => value,
        Action::Write(_) => None,
    });
    values.collect()
}

/// Finds an order for the history of one key that begins without a value.
///
/// # Errors
/// The history, where there is none.
pub fn check(history: &[Operation]) -> Result<(), String> {
    // What was not answered and not seen changes nothing for anybody: each answer says what was
    // there.
    let seen = seen(history);
    let mut operations: Vec<Operation> = history
        .iter()
        .filter(|operation| match (operation.ended, operation.action) {
            (Some(_), _) => true,
            (None, Action::Write(value) | Action::Exchange(_, value)) => {
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
        "no order of these explains what was seen:\n{}",
        lines.join("\n")
    ))
}

/// Whether another unanswered exchange builds on this value.
fn chained(history: &[Operation], value: u64) -> bool {
    history.iter().any(|operation| matches!(operation.action, Action::Exchange(Some(expected), _) if expected == value))
}

/// Which operations have taken place, and what the key holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done {
    /// All before this one, by the time that they began …
    before: usize,
    /// … and these after it, as bits from that place on.
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
            // One that was never answered may never have been done.
            let Some(first_end) = left().filter_map(|at| self.operations[at].ended).min() else {
                return true;
            };
            let mut next = Vec::new();
            for at in left().take_while(|at| self.operations[*at].begun <= first_end) {
                if let Ok(state) = after(self.operations[at].action, state) {
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
