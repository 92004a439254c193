//! The bootstrap barrier's rule, as a pure function: from what this disk remembers and what the others said, what may
//! be done. All that is safe about the barrier is decided here; `model.rs` enumerates what can happen around it.
//!
//! Why it holds. A node becomes ready in an epoch of which it has seen every life itself, and what it sees of a
//! peer never goes back in time. So of two epochs in which one disk was ready, one is the later in every life, and the
//! node went from that to this and not back. A cluster is begun by a node whose newest epoch it is, when *all* have
//! said that they are ready in it; from then on any other follows, but only into an epoch in which its own disk was
//! ready in its present life, so where it has never voted. Two clusters of different epochs would need a node that
//! went both ways.

use std::collections::{BTreeMap, BTreeSet};

use recipes::{Label, Sha256};
use serde::{Deserialize, Serialize};

use super::epoch::{Epoch, Lives, Nonce};

/// How far a node has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Its disk is empty.
    Empty,
    /// It has seen all lives of this epoch, and has written that down.
    Ready {
        /// The epoch's hash.
        epoch: Sha256,
    },
}

/// What a member said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Words {
    /// firstboot waits there, too.
    Firstboot {
        /// The life of its disk.
        nonce: Nonce,
        /// How far it has come.
        phase: Phase,
        /// Whom its operator told it to go without.
        without: BTreeSet<Label>,
    },
    /// etcd runs there.
    Etcd {
        /// The id of the cluster it belongs to.
        cluster_id: u64,
    },
}

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
}

impl Memory {
    /// What this node tells others of itself.
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
    /// All others were just seen, empty, in these lives: be ready in their epoch.
    BeReady(Lives),
    /// Start etcd as an initial member of the epoch with this hash.
    Start(Sha256),
    /// Another cluster lives, or lived when it was last heard of. This node must not start as new.
    Alive,
}

/// The rule.
pub(crate) fn decide(memory: &Memory, views: &Views) -> Step {
    let living: BTreeSet<u64> = views
        .values()
        .filter_map(|view| match view.words {
            Some(Words::Etcd { cluster_id }) => Some(cluster_id),
            _ => None,
        })
        .collect();
    if let Some(cluster_id) = living.first() {
        let own = memory.epochs.iter().find(|epoch| epoch.cluster_id == *cluster_id);
        return match own {
            Some(epoch) if living.len() == 1 => Step::Start(epoch.id),
            _ => Step::Alive,
        };
    }

    let mut lives = Lives::from([(memory.name.clone(), memory.nonce)]);
    let (mut all_ready, mut all_fresh) = (true, true);
    for name in memory.others() {
        let view = views.get(name);
        let Some(View { words: Some(Words::Firstboot { nonce, phase, without }), fresh }) = view else {
            return Step::Wait;
        };
        if *without != memory.without {
            return Step::Wait;
        }
        lives.insert(name.clone(), *nonce);
        all_ready &= *phase == memory.phase();
        all_fresh &= fresh;
    }
    match memory.epochs.last() {
        // That they were ready is written on their disks, so it does not matter how long ago they said so.
        Some(epoch) if all_ready => Step::Start(epoch.id),
        _ if memory.epochs.iter().any(|epoch| epoch.lives == lives) => Step::Wait,
        _ if all_fresh => Step::BeReady(lives),
        _ => Step::Wait,
    }
}

#[cfg(test)]
mod tests;
