//! Explores the orders of events: all of them, or many random ones.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::{ABSENT, Begin, Explorer, Faults, Look, Node, Rule, World};
use crate::barrier::decide::Action;

/// The result of an exploration.
#[derive(Debug, Default)]
pub(super) struct Explored {
    /// The number of distinct states; in a random exploration, the number of events.
    pub(super) states: usize,
    /// The number of final states, in which nothing more happens.
    pub(super) ends: usize,
    /// The number of final states in which all nodes are members of one cluster.
    pub(super) whole: usize,
    /// The number of final states in which at least one node runs the restored data.
    pub(super) restored: usize,
    /// The number of final states in which a node waits forever although no connection is cut.
    pub(super) stuck: usize,
    /// The first violation of a requirement, if there was one.
    pub(super) violation: Option<String>,
}

/// Explores every order of events.
pub(super) fn every(
    count: usize,
    begin: Begin<'_>,
    look: Look,
    faults: Faults,
    rule: Rule,
) -> Explored {
    let mut explorer = Explorer::new(count, rule);
    let first = explorer.first(begin, faults);
    let mut known = HashSet::from([first.clone()]);
    let mut open = VecDeque::from([first]);
    let mut found = Explored::default();
    while let Some(world) = open.pop_front() {
        let steps = explorer.steps(&world, look);
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

/// Explores many random orders of events, each until its final state. Every run draws the same
/// orders.
pub(super) fn some(
    count: usize,
    begin: Begin<'_>,
    walks: u32,
    faults: Faults,
    rule: Rule,
) -> Explored {
    let mut explorer = Explorer::new(count, rule);
    let mut found = Explored::default();
    // A xorshift generator (Marsaglia, 2003).
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(below).unwrap()).unwrap()
    };
    for _ in 0..walks {
        let mut world = explorer.first(begin, faults);
        loop {
            let mut steps = explorer.steps(&world, Look::AtOne);
            let done = steps.is_empty();
            if done {
                explorer.end(&world, &mut found);
            }
            let mut faults = explorer.faults(&world);
            // Faults are drawn rarely; otherwise all of them would happen before the nodes agree on
            // anything.
            if !faults.is_empty() && (done || draw(25) == 0) {
                steps = std::mem::take(&mut faults);
            }
            if steps.is_empty() {
                break;
            }
            let next = steps.swap_remove(draw(steps.len()));
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
        let is_restored = |epoch: Option<u8>| {
            epoch.is_some_and(|epoch| self.epochs.values[usize::from(epoch)].1 != 0)
        };
        found.restored += usize::from(began.iter().any(|epoch| is_restored(*epoch)));
        let waits = |at: usize| {
            self.node(world, at).started.is_none() && self.step(at, world.nodes[at]) == Action::Wait
        };
        found.stuck += usize::from((0..count).any(waits));
    }

    /// Whether a node lost its data although it kept its disk.
    fn overwritten(&self, before: &World, after: &World) -> Option<String> {
        (0..self.names.len())
            .filter(|at| before.nodes[*at] != after.nodes[*at])
            .find_map(|at| {
                let (old, new): (&Node, &Node) = (self.node(before, at), self.node(after, at));
                let kept =
                    old.started.is_none() || old.started == new.started || new.life > old.life;
                // A restore archives the data that it replaces. Until then the data must remain,
                // whether the restore succeeds or not.
                let lost = old.data.is_some() && new.data != old.data && new.ordered == 0 && {
                    let (back, forth) = (
                        new.started == old.data.map(|(epoch, _)| epoch),
                        new.started.is_some(),
                    );
                    let ordered = new
                        .started
                        .map(|epoch| self.epochs.values[usize::from(epoch)].1);
                    !(back || forth && ordered == Some(old.ordered)) && new.newest == old.newest
                };
                (!kept || lost).then(|| format!("n{at} overwrote its data"))
            })
    }

    /// Checks every state against the requirements.
    fn wrong(&self, world: &World) -> Option<String> {
        let count = self.names.len();
        let started: Vec<(usize, u8)> = (0..count)
            .filter_map(|at| self.node(world, at).started.map(|epoch| (at, epoch)))
            .collect();
        let ready = &self.ready.values[world.ever_ready as usize];
        let lives_of = |epoch: u8| &self.epochs.values[usize::from(epoch)].0;
        let ordered = |epoch: u8| self.epochs.values[usize::from(epoch)].1;
        for (at, epoch) in &started {
            let disk_ids = lives_of(*epoch);
            let mut members = disk_ids
                .iter()
                .enumerate()
                .filter(|(_, life)| **life != ABSENT);
            if let Some((member, life)) =
                members.find(|(member, _)| !ready.contains(&(*epoch, *member)))
            {
                return Some(format!(
                    "n{at} began {disk_ids:?}, in which n{member} (life {life}) was never ready"
                ));
            }
            if disk_ids[*at] != self.node(world, *at).life {
                return Some(format!("n{at} began {disk_ids:?} in another life"));
            }
            for (other, second) in &started {
                let same_members = |(a, b): (&u8, &u8)| (*a == ABSENT) == (*b == ABSENT);
                let theirs = lives_of(*second);
                // A node that abandoned a restore when all were ready runs alongside nodes that did
                // not abandon it; the next check covers that.
                let both = ordered(*epoch) == 0 && ordered(*second) == 0;
                if epoch != second && both && disk_ids.iter().zip(theirs).all(same_members) {
                    return Some(format!(
                        "n{at} runs in {disk_ids:?}, n{other} in {theirs:?}"
                    ));
                }
            }
        }
        // An epoch with different members (through the operator's --without) may have begun. It
        // must never have a quorum.
        let quorate = |epoch: &u8| {
            let members = lives_of(*epoch)
                .iter()
                .filter(|life| **life != ABSENT)
                .count();
            started.iter().filter(|(_, own)| own == epoch).count() > members / 2
        };
        let living: BTreeSet<u8> = started
            .iter()
            .map(|(_, epoch)| *epoch)
            .filter(quorate)
            .collect();
        (living.len() > 1).then(|| format!("{} clusters have a quorum", living.len()))
    }
}
