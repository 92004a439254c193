//! Explores all orders of events, or many random orders.

use std::collections::{HashSet, VecDeque};

use super::{Budget, StartRule, World};

/// The result of an exploration.
#[derive(Debug, Default)]
pub(super) struct Explored {
    pub(super) states: usize,
    /// The number of states in which at least one member has been rebuilt. A random exploration
    /// counts only final states.
    pub(super) rebuilt: usize,
    /// The first violation of a requirement, if there was one.
    pub(super) violation: Option<String>,
}

pub(super) fn every(count: u8, left: Budget, start_rule: StartRule) -> Explored {
    let first = World::new(count, left);
    let mut known = HashSet::from([first.clone()]);
    let mut open = VecDeque::from([first]);
    let mut found = Explored::default();
    while let Some(world) = open.pop_front() {
        found.rebuilt += usize::from(world.members.iter().any(|nth| *nth > 0));
        match world.next(start_rule) {
            Ok(next) => open.extend(next.into_iter().filter(|next| known.insert(next.clone()))),
            Err(violation) => {
                found.violation = Some(violation);
                break;
            }
        }
    }
    found.states = known.len();
    found
}

/// Explores many random orders of events. The orders are the same in every run of the test.
pub(super) fn some(count: u8, walks: u32, left: Budget, start_rule: StartRule) -> Explored {
    let mut found = Explored::default();
    // A xorshift generator (Marsaglia, 2003).
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..walks {
        let mut world = World::new(count, left);
        for _ in 0..200 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let mut next = match world.next(start_rule) {
                Ok(next) => next,
                Err(violation) => {
                    return Explored {
                        violation: Some(violation),
                        ..found
                    };
                }
            };
            let Some(count) = u64::try_from(next.len()).ok().filter(|count| *count > 0) else {
                break;
            };
            world = next.swap_remove(usize::try_from(random % count).unwrap_or_default());
            found.states += 1;
        }
        found.rebuilt += usize::from(world.members.iter().any(|nth| *nth > 0));
    }
    found
}
