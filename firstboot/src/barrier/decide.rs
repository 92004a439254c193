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
use crate::domain::{Lives, Nonce, Task};
use crate::membership::{Announcement, Phase, Words};

/// What is known of another member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct View {
    /// What it said last, if it ever said anything.
    pub(crate) words: Option<Words>,
    /// Whether it said so just now, when it was last asked.
    pub(crate) fresh: bool,
}

/// What is known of all other members of the recipe.
pub(crate) type Views = BTreeMap<Label, View>;

/// What this disk remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The member this node is.
    pub(crate) name: Label,
    /// The members of the recipe that take part, this one among them.
    pub(crate) initial: BTreeSet<Label>,
    /// Those that do not, by the operator's word.
    pub(crate) without: BTreeSet<Label>,
    /// The life of this disk.
    pub(crate) nonce: Nonce,
    /// The epochs in which it was ready in this life, oldest first.
    pub(crate) epochs: Vec<Epoch>,
    /// What it is told to begin with.
    pub(crate) task: Task,
}

impl Memory {
    /// What this node tells the others of itself.
    pub(crate) fn announcement(&self) -> Announcement<'_> {
        Announcement {
            name: &self.name,
            nonce: self.nonce,
            phase: self.phase(),
            without: &self.without,
            task: self.task,
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
pub(crate) enum Step {
    /// Nothing but ask again.
    Wait,
    /// All others were just seen, told the same, in these lives: be ready in their epoch.
    BeReady(Lives, Task),
    /// Start etcd as an initial member of the epoch with this hash.
    Start(Sha256),
    /// Another cluster lives, or lived when it was last heard of. This node must not start as new.
    Alive,
    /// This member was told something else, or no longer wants what all had agreed to: go on as before.
    GiveUp(Label),
}

/// The rule.
pub(crate) fn decide(memory: &Memory, views: &Views) -> Step {
    if let Some(step) = beside_the_living(memory, views) {
        return step;
    }
    let mut lives = Lives::from([(memory.name.clone(), memory.nonce)]);
    let mut task = memory.task;
    let (mut all_ready, mut all_fresh) = (true, true);
    for name in memory.others() {
        let Some(View { words: Some(words), fresh }) = views.get(name) else { return Step::Wait };
        all_fresh &= fresh;
        match words {
            Words::Firstboot { nonce, phase, without, task: theirs } => {
                let Some(both) = task.with(*theirs).filter(|_| *without == memory.without) else { return Step::Wait };
                task = both;
                lives.insert(name.clone(), *nonce);
                all_ready &= *phase == memory.phase();
            }
            Words::Etcd { .. } if back_already(memory, words) => {}
            Words::Etcd { .. } => return Step::Wait,
        }
    }
    match memory.epochs.last() {
        // That they were ready is written on their disks, so it does not matter how long ago they said so.
        Some(epoch) if all_ready => Step::Start(epoch.id),
        _ if memory.epochs.iter().any(|epoch| epoch.lives == lives) => Step::Wait,
        _ if all_fresh => Step::BeReady(lives, task),
        _ => Step::Wait,
    }
}

/// Whether who said this is where this node was told to return to.
fn back_already(memory: &Memory, words: &Words) -> bool {
    matches!((memory.task, words), (Task::Rollback { cluster }, Words::Etcd { cluster_id }) if *cluster_id == cluster)
}

/// What follows from it that etcd runs somewhere, or that another was told something else; none, if nothing does.
fn beside_the_living(memory: &Memory, views: &Views) -> Option<Step> {
    let living: BTreeSet<u64> = views
        .values()
        .filter_map(|view| match view.words {
            Some(Words::Etcd { cluster_id }) => Some(cluster_id),
            _ => None,
        })
        .collect();
    let own: Vec<&Epoch> = memory.epochs.iter().filter(|epoch| living.contains(&epoch.cluster_id)).collect();
    if memory.task.is_new() {
        return living.first().map(|_| match own.as_slice() {
            [epoch] if living.len() == 1 => Step::Start(epoch.id),
            _ => Step::Alive,
        });
    }
    if let (Task::Restore { .. }, [epoch]) = (memory.task, own.as_slice()) {
        return Some(Step::Start(epoch.id));
    }
    // Nobody is left out unasked.
    if memory.without.iter().any(|name| !views.contains_key(name)) {
        return Some(Step::Wait);
    }
    let was_ready = !memory.epochs.is_empty();
    for (name, View { words, fresh }) in views {
        let takes_part = memory.initial.contains(name);
        match words {
            // It was told once, or this node had not been ready; somebody may have started, but then it was seen above.
            Some(words @ Words::Etcd { .. }) if *fresh && !back_already(memory, words) => {
                let gave_up = takes_part && was_ready;
                return Some(if gave_up { Step::GiveUp(name.clone()) } else { Step::Wait });
            }
            // Once ready another may have started, so that this node had better wait for what it sees.
            Some(Words::Firstboot { task, .. }) if *fresh && takes_part && !was_ready => {
                let other = !task.is_new() && memory.task.with(*task).is_none();
                if other {
                    return Some(Step::GiveUp(name.clone()));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
