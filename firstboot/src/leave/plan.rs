//! Decides whether a member may leave. The decision is a pure function that maps the observation to
//! the next step. firstboot observes the cluster again after each step.
//!
//! etcd's own check of a removal counts only the members to which etcd is connected. Therefore,
//! etcd can allow a removal even if one of the other members is down, and the cluster may lose its
//! fault tolerance. The rule in this module requires that all other members be healthy.

use crate::membership::{MemberReport, another_cluster, is_listed, same_member_list, unhealthy};
use crate::reason::{Reason, ReasonId};

/// The observed state of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observed {
    /// The member id of this node.
    pub(crate) member: u64,
    /// The id of this node's cluster, or `None` if the node was never healthy in a cluster.
    pub(crate) cluster: Option<u64>,
    /// The leader according to etcd on this node, or `None` if etcd is not running or does not have
    /// a leader.
    pub(crate) leader: Option<u64>,
    /// Whether etcd on this node reports, by a linearizable read, that this node's member is the
    /// only voter.
    pub(crate) alone: bool,
    /// The reports of the other members that answered a linearizable read.
    pub(crate) peers: Vec<MemberReport>,
    /// The reason why another member may stop its etcd at any time: an update or a change of the
    /// CA. If firstboot cannot determine whether another member may stop, the reason describes the
    /// error.
    pub(crate) other_stops: Option<Reason>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaveStep {
    /// This node's member is no longer in the member list, so nothing remains to be done.
    AlreadyRemoved,
    /// The member must not leave, for this reason.
    Refuse(Reason),
    /// The member cannot leave yet, for this reason.
    Wait(Reason),
    /// Transfer the leadership to this voter.
    TransferLeadership(u64),
    /// Remove the member through the voter at this URL.
    Remove(String),
}

pub(crate) fn plan(observed: &Observed) -> LeaveStep {
    let Observed { member, peers, .. } = observed;
    if observed.alone {
        return LeaveStep::Refuse(ReasonId::LastVoter.because(
            "this node is the only voter: if it left, the cluster and its data would be lost. To end the cluster, switch \
             the machine off",
        ));
    }
    let Some(first) = peers.first() else {
        return wait(
            ReasonId::NoQuorum,
            "no other member answered, or the cluster has no quorum",
        );
    };
    if let Some(why) = another_cluster(peers, observed.cluster) {
        return LeaveStep::Refuse(why);
    }
    if !same_member_list(peers) {
        return wait(
            ReasonId::MemberListsDiffer,
            "the members do not agree on the member list yet",
        );
    }
    if !is_listed(peers, *member) {
        return LeaveStep::AlreadyRemoved;
    }
    if let Some(learner) = first
        .members
        .iter()
        .find(|other| other.is_learner && other.id != *member)
    {
        return wait(
            ReasonId::LearnerPending,
            format!("{} is still a learner", learner.title()),
        );
    }
    let ill = unhealthy(peers, *member);
    if !ill.is_empty() {
        return wait(
            ReasonId::MembersUnhealthy,
            format!(
                "without this node, the cluster could lose its quorum, because these members are not healthy: {}. Repair each of them first, or \
                 remove it with `etcdctl member remove`",
                ill.join(", ")
            ),
        );
    }
    if let Some(why) = &observed.other_stops {
        return LeaveStep::Wait(why.clone());
    }
    if observed.leader == Some(*member) {
        // The member that has applied the most entries needs the least time to catch up. etcd's
        // transfer waits until the new leader has caught up.
        return match peers.iter().max_by_key(|peer| peer.index) {
            Some(next) => LeaveStep::TransferLeadership(next.member_id),
            None => wait(ReasonId::NoQuorum, "no other voter can become the leader"),
        };
    }
    LeaveStep::Remove(first.url.clone())
}

fn wait(id: ReasonId, why: impl Into<String>) -> LeaveStep {
    LeaveStep::Wait(id.because(why))
}

#[cfg(test)]
mod tests;
