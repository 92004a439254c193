//! Defines the rule of the bootstrap barrier. The rule is a pure function that maps the state of
//! this node and the observed states of the other members to the next action. `model.rs` explores
//! every order of events on nodes that apply this rule. `exclusion` decides which members an
//! operator may exclude.
//!
//! The following argument shows that the rule is safe. Here, "all nodes" are the nodes that take
//! part: the members of the recipe without the members that an operator excluded. A proposal
//! contains one nonce of each of these nodes. A node accepts a proposal only after the node itself
//! has received every nonce of the proposal, and it never replaces its view of a peer with an older
//! view. Therefore, all disks that accept the same two proposals accept them in the same order, and
//! no disk returns from the later proposal to the earlier one. A node bootstraps the cluster of its
//! newest proposal only after all nodes have announced that they accepted this proposal. If the
//! clusters of two proposals A and B both had a quorum, the two quorums would share a node. The
//! disk of this node would have accepted A, then B, and then A again, which the order of acceptance
//! excludes. A new disk in the shared node has a new nonce, which A does not contain. After a node
//! has bootstrapped a cluster, another node starts as an initial member of that cluster only if the
//! node accepted the cluster's proposal with the current nonce of its disk. Until etcd first starts
//! on such a disk, the disk has cast no vote in that cluster.
//!
//! A node with a restore order follows the same rule. Meanwhile, the node keeps etcd stopped, and
//! keeps etcd's data. The snapshot is part of the proposal, so only nodes with the same order
//! agree, and no data is replaced before all nodes have the order. Until a node replaces its data,
//! it may abandon the order and continue with its previous data, unless the node has accepted a
//! binding order (`restore::binding`): two clusters could then have a quorum. A node with an order
//! to roll back does not need the agreement of members that have already returned to the previous
//! cluster. A node accepts no proposal while an excluded member has an order to start another
//! cluster.

use std::collections::{BTreeMap, BTreeSet};

use recipes::{Label, Sha256};

use super::proposal::Proposal;
use crate::domain::{BootstrapMode, Nonce, Nonces};
use crate::membership::{Announcement, BarrierPhase, PeerState};

/// The observed state of another member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct PeerObservation {
    /// The member's last answer, or `None` if it has never answered.
    pub(crate) state: Option<PeerState>,
    /// Whether the member answered the last probe.
    pub(crate) answered_last_probe: bool,
}

/// The observed states of all other members of the recipe.
pub(crate) type PeerObservations = BTreeMap<Label, PeerObservation>;

/// The state of this node in the barrier. This node's name comes from the node document, and the
/// list of all members comes from the cluster document. All other values come from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalState {
    /// The name of this member.
    pub(crate) name: Label,
    /// The members of the recipe that take part, including this member.
    pub(crate) initial: BTreeSet<Label>,
    /// The members that the operator excluded.
    pub(crate) without: BTreeSet<Label>,
    pub(crate) nonce: Nonce,
    /// Whether this node may join a running cluster but must not bootstrap a new cluster, because
    /// the node has already been a member. If all members lost their data, a new, empty cluster
    /// would hide the loss.
    pub(crate) only_joins: bool,
    /// The proposals that this node accepted with this nonce, oldest first.
    pub(crate) proposals: Vec<Proposal>,
    /// Whether the node bootstraps a new cluster, restores a snapshot or rolls back.
    pub(crate) mode: BootstrapMode,
}

impl LocalState {
    /// Returns the state that this node reports to the other members.
    pub(crate) fn announcement(&self) -> Announcement<'_> {
        Announcement {
            name: &self.name,
            nonce: self.nonce,
            phase: self.phase(),
            without: &self.without,
            mode: self.mode,
        }
    }

    /// Returns the phase that this node has reached.
    pub(crate) fn phase(&self) -> BarrierPhase {
        self.proposals
            .last()
            .map_or(BarrierPhase::NotAccepted, |proposal| {
                BarrierPhase::Accepted {
                    proposal: proposal.id,
                }
            })
    }

    /// Returns whether at least one excluded member has not been probed yet.
    fn has_unprobed_excluded(&self, observations: &PeerObservations) -> bool {
        self.without
            .iter()
            .any(|name| !observations.contains_key(name))
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = &Label> {
        self.initial.iter().filter(|name| **name != self.name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Wait, and probe the other members again.
    Wait,
    /// Accept the proposal with these nonces, because all other members that take part have just
    /// answered with these nonces and with the same order. A member that has already rolled back
    /// agrees without a nonce.
    AcceptProposal(Nonces, BootstrapMode),
    /// Carry out the accepted proposal with this hash: start etcd as an initial member of the
    /// proposal's cluster, or swap the data for a restore or a rollback.
    CarryOut(Sha256),
    /// Join the running cluster instead of bootstrapping a new cluster. A cluster is running, or
    /// was running when it was last observed.
    JoinRunningCluster,
    /// Abandon this node's order and continue with the previous data, because the named member has
    /// a different order or abandoned its order.
    AbandonOrder(Label),
}

/// Decides the next action from the state of this node and its observations of the other members.
pub(crate) fn decide(local: &LocalState, observations: &PeerObservations) -> Action {
    if let Some(step) = decide_on_observed_clusters(local, observations) {
        return step;
    }
    let mut nonces = Nonces::from([(local.name.clone(), local.nonce)]);
    let mut mode = local.mode;
    let (mut all_accepted, mut all_answered) = (true, true);
    for name in local.others() {
        let Some(PeerObservation {
            state: Some(state),
            answered_last_probe,
        }) = observations.get(name)
        else {
            return Action::Wait;
        };
        all_answered &= answered_last_probe;
        match state {
            PeerState::Firstboot {
                nonce,
                phase,
                without,
                mode: theirs,
            } => {
                let Some(both) = mode.merge(*theirs).filter(|_| *without == local.without) else {
                    return Action::Wait;
                };
                mode = both;
                nonces.insert(name.clone(), *nonce);
                all_accepted &= *phase == local.phase();
            }
            PeerState::Etcd { .. } if already_rolled_back(local, state) => {}
            PeerState::Etcd { .. } => return Action::Wait,
        }
    }
    match local.proposals.last() {
        // All other members recorded on their disks that they accepted the proposal, so it does not
        // matter how old their answers are.
        Some(proposal) if all_accepted => Action::CarryOut(proposal.id),
        _ if local
            .proposals
            .iter()
            .any(|proposal| proposal.nonces == nonces) =>
        {
            Action::Wait
        }
        // An excluded member should not be running, so the node first probes all excluded members.
        // If etcd runs on an excluded member, a cluster already exists.
        _ if local.has_unprobed_excluded(observations) => Action::Wait,
        _ if all_answered && !local.only_joins => Action::AcceptProposal(nonces, mode),
        _ => Action::Wait,
    }
}

/// Returns whether a member with this state is already running in the cluster to which this node
/// must return.
fn already_rolled_back(local: &LocalState, state: &PeerState) -> bool {
    matches!((local.mode, state), (BootstrapMode::Rollback { cluster }, PeerState::Etcd { cluster_id }) if *cluster_id == cluster)
}

/// Returns whether a node with the order `own` and an excluded member with the order `excluded`
/// would start two clusters. Two nodes that roll back to the same cluster start only that cluster.
pub(super) fn starts_second_cluster(own: BootstrapMode, excluded: BootstrapMode) -> bool {
    let same = matches!(own, BootstrapMode::Rollback { .. }) && own == excluded;
    !excluded.is_new() && !same
}

/// Returns the action that is necessary because another member runs etcd, has a different order, or
/// is excluded and has not been probed yet. Returns `None` if no member requires such an action.
fn decide_on_observed_clusters(
    local: &LocalState,
    observations: &PeerObservations,
) -> Option<Action> {
    let observed_clusters: BTreeSet<u64> = observations
        .values()
        .filter_map(|observation| match observation.state {
            Some(PeerState::Etcd { cluster_id }) => Some(cluster_id),
            _ => None,
        })
        .collect();
    let own: Vec<&Proposal> = local
        .proposals
        .iter()
        .filter(|proposal| observed_clusters.contains(&proposal.cluster_id))
        .collect();
    if local.mode.is_new() {
        return observed_clusters.first().map(|_| match own.as_slice() {
            [proposal] if observed_clusters.len() == 1 => Action::CarryOut(proposal.id),
            _ => Action::JoinRunningCluster,
        });
    }
    // For a rollback, an observed member of the proposal's cluster does not prove that the members
    // agreed, because this member may never have left the cluster.
    if let (BootstrapMode::Restore { .. }, [proposal]) = (local.mode, own.as_slice()) {
        return Some(Action::CarryOut(proposal.id));
    }
    // Before the node decides, it must have probed every excluded member.
    if local.has_unprobed_excluded(observations) {
        return Some(Action::Wait);
    }
    decide_with_other_orders(local, observations)
}

/// Returns the action that a node with an order must take because another member has a different
/// order, or runs etcd without the new data. Returns `None` if no such member requires an action.
fn decide_with_other_orders(local: &LocalState, observations: &PeerObservations) -> Option<Action> {
    let has_accepted = !local.proposals.is_empty();
    for (
        name,
        PeerObservation {
            state,
            answered_last_probe,
        },
    ) in observations
    {
        let takes_part = local.initial.contains(name);
        match state {
            // The other member runs etcd, but in no cluster of a proposal that this node has
            // accepted: `decide_on_observed_clusters` has already handled such members. If the
            // other member takes part, and this node has accepted a proposal, the other member does
            // not carry out this proposal. It has abandoned its order, or was restored otherwise.
            Some(state @ PeerState::Etcd { .. })
                if *answered_last_probe && !already_rolled_back(local, state) =>
            {
                let gave_up = takes_part && has_accepted;
                return Some(if gave_up {
                    Action::AbandonOrder(name.clone())
                } else {
                    Action::Wait
                });
            }
            // Once this node has accepted a proposal, another member may have started with the new
            // data, so this node must wait.
            Some(PeerState::Firstboot { mode, .. })
                if *answered_last_probe && takes_part && !has_accepted =>
            {
                let other = !mode.is_new() && local.mode.merge(*mode).is_none();
                if other {
                    return Some(Action::AbandonOrder(name.clone()));
                }
            }
            // A second operator may have ordered an excluded member to restore without this node.
            Some(PeerState::Firstboot { mode, .. })
                if *answered_last_probe
                    && !takes_part
                    && !has_accepted
                    && starts_second_cluster(local.mode, *mode) =>
            {
                return Some(Action::Wait);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod exclusion_tests;
#[cfg(test)]
mod tests;
