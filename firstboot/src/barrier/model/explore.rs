//! Explores all orders of events, or many random orders.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::{ABSENT, Explorer, Faults, InitialState, Node, ProbeScope, Rule, World};
use crate::barrier::decide::Action;

/// The result of an exploration.
#[derive(Debug, Default)]
pub(super) struct Explored {
    /// The number of distinct states or, in a random exploration, the number of events.
    pub(super) states: usize,
    /// The number of final states. In a final state, only faults can still happen.
    pub(super) ends: usize,
    /// The number of final states in which all nodes are members of one cluster.
    pub(super) whole: usize,
    /// The number of final states in which at least one node runs the restored data.
    pub(super) restored: usize,
    /// The number of final states in which a node waits forever.
    pub(super) stuck: usize,
    /// The first violation of a requirement, if there was one.
    pub(super) violation: Option<String>,
}

/// Explores every order of events.
pub(super) fn every(
    count: usize,
    begin: InitialState<'_>,
    scope: ProbeScope,
    faults: Faults,
    rule: Rule,
) -> Explored {
    let mut explorer = Explorer::new(count, rule);
    let first = explorer.first(begin, faults);
    let mut known = HashSet::from([first.clone()]);
    let mut open = VecDeque::from([first]);
    let mut found = Explored::default();
    while let Some(world) = open.pop_front() {
        let steps = explorer.steps(&world, scope);
        if steps.is_empty() {
            explorer.end(&world, &mut found);
        }
        let faults = explorer.faults(&world);
        for next in steps.into_iter().chain(faults) {
            found.violation = explorer.overwritten(&world, &next);
            if found.violation.is_none() && known.insert(next.clone()) {
                found.violation = explorer.wrong(&next);
                open.push_back(next);
            }
            if found.violation.is_some() {
                found.states = known.len();
                return found;
            }
        }
    }
    found.states = known.len();
    found
}

/// Explores many random orders of events, each until no event is possible. The orders are the same
/// in every run of the test.
pub(super) fn some(
    count: usize,
    begin: InitialState<'_>,
    walks: u32,
    faults: Faults,
    rule: Rule,
) -> Explored {
    let mut explorer = Explorer::new(count, rule);
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
        let mut world = explorer.first(begin, faults);
        loop {
            let mut steps = explorer.steps(&world, ProbeScope::AtOne);
            let done = steps.is_empty();
            if done {
                explorer.end(&world, &mut found);
            }
            let mut faults = explorer.faults(&world);
            // Choose faults rarely, because otherwise all of them would happen before the nodes
            // agree on anything.
            if !faults.is_empty() && (done || random_below(25) == 0) {
                steps = std::mem::take(&mut faults);
            }
            if steps.is_empty() {
                break;
            }
            let next = steps.swap_remove(random_below(steps.len()));
            found.states += 1;
            found.violation = explorer
                .overwritten(&world, &next)
                .or_else(|| explorer.wrong(&next));
            if found.violation.is_some() {
                return found;
            }
            world = next;
        }
    }
    found
}

impl Explorer {
    fn end(&mut self, world: &World, found: &mut Explored) {
        found.ends += 1;
        let count = self.names.len();
        let began: BTreeSet<Option<u8>> =
            (0..count).map(|at| self.node(world, at).started).collect();
        found.whole += usize::from(began.len() == 1 && !began.contains(&None));
        let is_restored = |proposal: Option<u8>| {
            proposal.is_some_and(|proposal| self.proposals.values[usize::from(proposal)].1 != 0)
        };
        found.restored += usize::from(began.iter().any(|proposal| is_restored(*proposal)));
        let waits = |at: usize| {
            self.node(world, at).started.is_none() && self.step(at, world.nodes[at]) == Action::Wait
        };
        found.stuck += usize::from((0..count).any(waits));
    }

    /// Returns a violation if a node lost its data but kept its disk.
    fn overwritten(&self, before: &World, after: &World) -> Option<String> {
        (0..self.names.len())
            .filter(|at| before.nodes[*at] != after.nodes[*at])
            .find_map(|at| {
                let (old, new): (&Node, &Node) = (self.node(before, at), self.node(after, at));
                let kept =
                    old.started.is_none() || old.started == new.started || new.nonce > old.nonce;
                // A restore archives the data that it replaces. Until the data is archived, it must
                // remain unchanged, even if the restore fails.
                let lost = old.data.is_some() && new.data != old.data && new.ordered == 0 && {
                    let (back, forth) = (
                        new.started == old.data.map(|(proposal, _)| proposal),
                        new.started.is_some(),
                    );
                    let ordered = new
                        .started
                        .map(|proposal| self.proposals.values[usize::from(proposal)].1);
                    !(back || forth && ordered == Some(old.ordered)) && new.newest == old.newest
                };
                (!kept || lost).then(|| format!("n{at} overwrote its data"))
            })
    }

    /// Checks one state against the requirements, and returns the first violation, if there is one.
    fn wrong(&self, world: &World) -> Option<String> {
        let count = self.names.len();
        let started: Vec<(usize, u8)> = (0..count)
            .filter_map(|at| self.node(world, at).started.map(|proposal| (at, proposal)))
            .collect();
        let accepted = &self.accepted.values[world.ever_accepted as usize];
        let nonces_of = |proposal: u8| &self.proposals.values[usize::from(proposal)].0;
        let ordered = |proposal: u8| self.proposals.values[usize::from(proposal)].1;
        for (at, proposal) in &started {
            let nonces = nonces_of(*proposal);
            let mut members = nonces
                .iter()
                .enumerate()
                .filter(|(_, nonce)| **nonce != ABSENT);
            if let Some((member, nonce)) =
                members.find(|(member, _)| !accepted.contains(&(*proposal, *member)))
            {
                return Some(format!(
                    "n{at} bootstrapped the proposal {nonces:?}, which n{member} (nonce {nonce}) \
                     never accepted"
                ));
            }
            if nonces[*at] != self.node(world, *at).nonce {
                return Some(format!(
                    "n{at} bootstrapped the proposal {nonces:?}, but has a different nonce"
                ));
            }
            for (other, second) in &started {
                let same_members = |(a, b): (&u8, &u8)| (*a == ABSENT) == (*b == ABSENT);
                let theirs = nonces_of(*second);
                // If a node abandoned a restore after all nodes had accepted the proposal, the node
                // runs in a different cluster from the nodes that continued. The next check covers
                // nodes in different clusters.
                let both = ordered(*proposal) == 0 && ordered(*second) == 0;
                if proposal != second && both && nonces.iter().zip(theirs).all(same_members) {
                    return Some(format!(
                        "n{at} runs in the cluster of {nonces:?}, but n{other} runs in the cluster \
                         of {theirs:?}"
                    ));
                }
            }
        }
        // If an operator used --without, the nodes of a proposal with different members may also
        // have bootstrapped a cluster. At most one cluster may have a quorum.
        let quorate = |proposal: &u8| {
            let members = nonces_of(*proposal)
                .iter()
                .filter(|nonce| **nonce != ABSENT)
                .count();
            started.iter().filter(|(_, own)| own == proposal).count() > members / 2
        };
        let living: BTreeSet<u8> = started
            .iter()
            .map(|(_, proposal)| *proposal)
            .filter(quorate)
            .collect();
        (living.len() > 1).then(|| format!("{} clusters have a quorum", living.len()))
    }
}
