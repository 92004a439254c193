//! The bootstrap barrier's rule, as a pure function: from what this disk remembers and what the others said, what may
//! be done. All that is safe about the barrier is decided here; `model.rs` enumerates what can happen around it.
//!
//! Why it holds. A node becomes ready in an epoch of which it has seen every life itself, and what it sees of a
//! peer never goes back in time. So of two epochs in which one disk was ready, one is the later in every life, and the
//! node went from that to this and not back. A cluster is begun by a node whose newest epoch it is, when *all* have
//! said that they are ready in it; from then on any other follows, but only into an epoch in which its own disk was
//! ready in its present life, so where it has never voted. Two clusters of different epochs would need a node that
//! went both ways.
//!
//! A node that an operator told to restore goes the same way, with etcd stopped and its data kept: the snapshot is part
//! of the epoch, so only those that were told the same one agree, and nobody's data is replaced before all were told.
//! Until then it may give up at any time and goes on as what it was. One that is told to return to its earlier cluster
//! needs no agreement with those that are there already.

use std::collections::{BTreeMap, BTreeSet};

use recipes::{Label, Sha256};

use super::epoch::Epoch;
use crate::domain::{BootstrapMode, DiskId, DiskIds};
use crate::membership::{Announcement, PeerState, Phase};

/// What is known of another member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct PeerObservation {
    /// What it said last, if it ever said anything.
    pub(crate) state: Option<PeerState>,
    /// Whether it said so just now, when it was last asked.
    pub(crate) fresh: bool,
}

/// What is known of all other members of the recipe.
pub(crate) type PeerObservations = BTreeMap<Label, PeerObservation>;

/// What this disk remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalState {
    /// The member this node is.
    pub(crate) name: Label,
    /// The members of the recipe that take part, this one among them.
    pub(crate) initial: BTreeSet<Label>,
    /// Those that do not, by the operator's word.
    pub(crate) without: BTreeSet<Label>,
    /// The life of this disk.
    pub(crate) disk_id: DiskId,
    /// The epochs in which it was ready in this life, oldest first.
    pub(crate) epochs: Vec<Epoch>,
    /// What it is told to begin with.
    pub(crate) mode: BootstrapMode,
}

impl LocalState {
    /// What this node tells the others of itself.
    pub(crate) fn announcement(&self) -> Announcement<'_> {
        Announcement {
            name: &self.name,
            disk_id: self.disk_id,
            phase: self.phase(),
            without: &self.without,
            mode: self.mode,
        }
    }

    /// How far this node has come.
    pub(crate) fn phase(&self) -> Phase {
        self.epochs.last().map_or(Phase::Empty, |epoch| Phase::Ready { epoch: epoch.id })
    }

    /// The other members that take part.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Label> {
        self.initial.iter().filter(|name| **name != self.name)
    }
}

/// What may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing but ask again.
    Wait,
    /// All others were just seen, told the same, in these lives: be ready in their epoch.
    BeReady(DiskIds, BootstrapMode),
    /// Start etcd as an initial member of the epoch with this hash.
    Start(Sha256),
    /// Another cluster lives, or lived when it was last heard of. This node must not start as new.
    Alive,
    /// This member was told something else, or no longer wants what all had agreed to: go on as before.
    GiveUp(Label),
}

/// The rule.
pub(crate) fn decide(memory: &LocalState, views: &PeerObservations) -> Action {
    if let Some(step) = decide_with_live_cluster(memory, views) {
        return step;
    }
    let mut disk_ids = DiskIds::from([(memory.name.clone(), memory.disk_id)]);
    let mut mode = memory.mode;
    let (mut all_ready, mut all_fresh) = (true, true);
    for name in memory.others() {
        let Some(PeerObservation { state: Some(state), fresh }) = views.get(name) else { return Action::Wait };
        all_fresh &= fresh;
        match state {
            PeerState::Firstboot { disk_id, phase, without, mode: theirs } => {
                let Some(both) = mode.with(*theirs).filter(|_| *without == memory.without) else { return Action::Wait };
                mode = both;
                disk_ids.insert(name.clone(), *disk_id);
                all_ready &= *phase == memory.phase();
            }
            PeerState::Etcd { .. } if already_rolled_back(memory, state) => {}
            PeerState::Etcd { .. } => return Action::Wait,
        }
    }
    match memory.epochs.last() {
        // That they were ready is written on their disks, so it does not matter how long ago they said so.
        Some(epoch) if all_ready => Action::Start(epoch.id),
        _ if memory.epochs.iter().any(|epoch| epoch.disk_ids == disk_ids) => Action::Wait,
        _ if all_fresh => Action::BeReady(disk_ids, mode),
        _ => Action::Wait,
    }
}

/// Whether who said this is where this node was told to return to.
fn already_rolled_back(memory: &LocalState, state: &PeerState) -> bool {
    matches!((memory.mode, state), (BootstrapMode::Rollback { cluster }, PeerState::Etcd { cluster_id }) if *cluster_id == cluster)
}

/// What follows from it that etcd runs somewhere, or that another was told something else; none, if nothing does.
fn decide_with_live_cluster(memory: &LocalState, views: &PeerObservations) -> Option<Action> {
    let living: BTreeSet<u64> = views
        .values()
        .filter_map(|view| match view.state {
            Some(PeerState::Etcd { cluster_id }) => Some(cluster_id),
            _ => None,
        })
        .collect();
    let own: Vec<&Epoch> = memory.epochs.iter().filter(|epoch| living.contains(&epoch.cluster_id)).collect();
    if memory.mode.is_new() {
        return living.first().map(|_| match own.as_slice() {
            [epoch] if living.len() == 1 => Action::Start(epoch.id),
            _ => Action::Alive,
        });
    }
    if let (BootstrapMode::Restore { .. }, [epoch]) = (memory.mode, own.as_slice()) {
        return Some(Action::Start(epoch.id));
    }
    // Nobody is left out unasked.
    if memory.without.iter().any(|name| !views.contains_key(name)) {
        return Some(Action::Wait);
    }
    let was_ready = !memory.epochs.is_empty();
    for (name, PeerObservation { state, fresh }) in views {
        let takes_part = memory.initial.contains(name);
        match state {
            // It was told once, or this node had not been ready; somebody may have started, but then it was seen above.
            Some(state @ PeerState::Etcd { .. }) if *fresh && !already_rolled_back(memory, state) => {
                let gave_up = takes_part && was_ready;
                return Some(if gave_up { Action::GiveUp(name.clone()) } else { Action::Wait });
            }
            // Once ready another may have started, so that this node had better wait for what it sees.
            Some(PeerState::Firstboot { mode, .. }) if *fresh && takes_part && !was_ready => {
                let other = !mode.is_new() && memory.mode.with(*mode).is_none();
                if other {
                    return Some(Action::GiveUp(name.clone()));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
