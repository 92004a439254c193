//! Decides whether a restore is binding: whether a node that has accepted it must carry it out, even
//! if it no longer hears from the other nodes.
//!
//! The other nodes may carry out the restore, and have a quorum of the restored cluster. Nodes that
//! return to their previous data may have a quorum of the previous cluster, together with its
//! members that do not take part. If both can happen, two clusters could acknowledge writes.

use std::collections::BTreeSet;

use recipes::{ClusterDocument, Label};

use super::unknown_members::known;
use crate::etcd::Member;
use crate::journal::NodeState;

/// The numbers of members on which the decision depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// The nodes that take part.
    taking_part: usize,
    /// The voters of the previous cluster that take part.
    returning: usize,
    /// The voters of the previous cluster that do not take part. They may be running.
    staying: usize,
    /// The voters of the cluster that the restore starts.
    restored: usize,
    /// The voters of that cluster that do not take part. After a rollback, they may already be
    /// running in that cluster.
    already_restored: usize,
}

/// Returns whether an order without these members is binding. `members` is the member list of the
/// previous cluster. If it is not known, the function assumes that all members of the recipe are
/// voters.
pub(super) fn is_binding(
    without: &BTreeSet<Label>,
    rollback: bool,
    cluster: &ClusterDocument,
    members: Option<&[Member]>,
    state: &NodeState,
) -> bool {
    let recipe: BTreeSet<&Label> = cluster.members.iter().map(|member| &member.name).collect();
    let takes_part = |name: &Label| recipe.contains(name) && !without.contains(name);
    let taking_part = recipe.iter().filter(|name| takes_part(name)).count();
    let (returning, staying) = match members {
        Some(members) => {
            let voters = members.iter().filter(|member| !member.is_learner);
            let (own, other): (Vec<_>, Vec<_>) =
                voters.partition(|member| known(member, cluster).is_some_and(takes_part));
            (own.len(), other.len())
        }
        None => (taking_part, recipe.len() - taking_part),
    };
    let archived = state.archived.as_ref().filter(|_| rollback);
    let (restored, already_restored) = archived.map_or((taking_part, 0), |archived| {
        let names = archived.initial_cluster.members.iter();
        let other = names.filter(|(name, _)| !name.parse().is_ok_and(|name| takes_part(&name)));
        (archived.initial_cluster.members.len(), other.count())
    });
    Counts {
        taking_part,
        returning,
        staying,
        restored,
        already_restored,
    }
    .allow_two_clusters()
}

impl Counts {
    /// Returns whether some nodes can have a quorum of the restored cluster while the others have a
    /// quorum of the previous cluster.
    fn allow_two_clusters(self) -> bool {
        let quorum = |members: usize| members / 2 + 1;
        let carry_out = quorum(self.restored)
            .saturating_sub(self.already_restored)
            .max(1);
        if carry_out >= self.taking_part {
            return false;
        }
        let returned = self.returning.min(self.taking_part - carry_out);
        self.staying + returned >= quorum(self.staying + self.returning)
    }
}

#[cfg(test)]
mod tests;
