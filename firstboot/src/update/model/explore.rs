//! Explores all orders of events, or many random orders.

use std::collections::HashMap;

use super::{Files, Model, Packed, Rules, Scenario};

/// The result of an exploration.
#[derive(Debug, Default)]
pub(super) struct Explored {
    /// The number of distinct states or, in a random exploration, the number of events.
    pub(super) states: usize,
    /// The combinations of the nodes' images in the final states, each with the number of final
    /// states that have this combination.
    pub(super) ends: HashMap<Vec<u8>, usize>,
    /// The first violation of a requirement, if there was one.
    pub(super) violation: Option<String>,
}

/// Explores every order of events. Requires that a final state can be reached from each state.
pub(super) fn every(scenario: Scenario, rules: Rules) -> Explored {
    let mut model = Model::new(scenario, rules);
    let first = model.first();
    let first = model.pack(first);
    let mut numbers = HashMap::from([(first.clone(), 0_u32)]);
    let (mut states, mut before) = (vec![first], vec![Vec::<u32>::new()]);
    let (mut found, mut ends, mut at) = (Explored::default(), Vec::new(), 0);
    while at < states.len() {
        let number = u32::try_from(at).unwrap();
        let (steps, faults) = match model.next(&states[at], &mut found) {
            Ok(next) => next,
            Err(violation) => {
                let mut history = vec![number];
                while let Some(earlier) = before[*history.last().unwrap() as usize].first() {
                    history.push(*earlier);
                }
                let history = history.iter().rev().map(|at| {
                    let world = model.unpack(&states[*at as usize]);
                    format!("{:?} {:?}\n", world.nodes, world.keys.keys())
                });
                found.violation = Some(format!("{violation}:\n{}", history.collect::<String>()));
                found.states = states.len();
                return found;
            }
        };
        if steps.is_empty() {
            ends.push(number);
        }
        for next in steps.into_iter().chain(faults) {
            let known = *numbers.entry(next.clone()).or_insert_with(|| {
                states.push(next);
                before.push(Vec::new());
                u32::try_from(states.len() - 1).unwrap()
            });
            before[known as usize].push(number);
        }
        at += 1;
    }
    found.states = states.len();
    let mut ending = vec![false; states.len()];
    while let Some(number) = ends.pop() {
        if !std::mem::replace(&mut ending[number as usize], true) {
            ends.extend(&before[number as usize]);
        }
    }
    if let Some(endless) = ending.iter().position(|ending| !ending) {
        let world = model.unpack(&states[endless]);
        found.violation = Some(format!("no final state can be reached from {world:?}"));
    }
    found
}

/// Explores many random orders of events. Each order ends when no event is possible. The seed is
/// fixed, so every run explores the same orders.
pub(super) fn some(scenario: Scenario, walks: u32, rules: Rules) -> Explored {
    let mut model = Model::new(scenario, rules);
    let mut found = Explored::default();
    // A xorshift generator (Marsaglia, 2003).
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random_below = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(below).unwrap()).unwrap()
    };
    for _ in 0..walks {
        let first = model.first();
        let mut world = model.pack(first);
        loop {
            let (mut steps, faults) = match model.next(&world, &mut found) {
                Ok(next) => next,
                Err(violation) => {
                    let world = model.unpack(&world);
                    found.violation = Some(format!("{violation}: {world:?}"));
                    return found;
                }
            };
            // Choose faults rarely, because frequent faults would all happen before the first
            // update.
            if !faults.is_empty() && (steps.is_empty() || random_below(25) == 0) {
                steps = faults;
            }
            if steps.is_empty() {
                break;
            }
            found.states += 1;
            world = steps.swap_remove(random_below(steps.len()));
        }
    }
    found
}

impl Model {
    /// Returns the states after each step, and after each fault. If no step is possible, checks the
    /// state, and counts it as a final state.
    fn next(
        &mut self,
        packed: &Packed,
        found: &mut Explored,
    ) -> Result<(Vec<Packed>, Vec<Packed>), String> {
        let world = self.unpack(packed);
        let steps = self.steps(&world)?;
        if steps.is_empty() {
            if let Some(wrong) = self.wrong_end(&world) {
                return Err(wrong);
            }
            let images = world.nodes.iter().map(|node| match node.files {
                Files::Whole(serial) => serial,
                Files::Mixed => 0,
            });
            *found.ends.entry(images.collect()).or_default() += 1;
        }
        let faults = self.faults(&world);
        let mut pack = |worlds: Vec<_>| worlds.into_iter().map(|world| self.pack(world)).collect();
        Ok((pack(steps), pack(faults)))
    }
}
