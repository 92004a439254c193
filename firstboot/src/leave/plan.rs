//! Whether a member may leave, as a pure function: from what was observed to the next step. After each step all is
//! observed again.
//!
//! etcd's own guard counts only whom it has a connection to, and lets a member go that leaves the others with no
//! tolerance left because one of them is down. Here all others must be well: who wants a cluster to shrink wants it to
//! be whole afterwards.

use crate::membership::{Peer, another_cluster, is_listed, same_member_list, unhealthy};

/// All that is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observed {
    /// The member that this node is.
    pub(crate) member: u64,
    /// Its cluster, where it ever was well in one.
    pub(crate) cluster: Option<u64>,
    /// The leader, as etcd on this node knows it; none where it does not run or knows of none.
    pub(crate) leader: Option<u64>,
    /// Whether etcd on this node says, with a quorum behind it, that it is the only voter.
    pub(crate) alone: bool,
    /// The others that answered with a quorum behind them.
    pub(crate) peers: Vec<Peer>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It is no member any more.
    AlreadyRemoved,
    /// It must not leave, whatever the time.
    Refuse(String),
    /// It cannot leave yet, and why.
    Wait(String),
    /// Hand the leadership to this voter.
    TransferLeadership(u64),
    /// Have it removed by the voter at this URL.
    Remove(String),
}

/// The rule.
pub(crate) fn plan(observed: &Observed) -> Plan {
    let Observed { member, peers, .. } = observed;
    if observed.alone {
        return Plan::Refuse(
            "this node is the only voter left: with it the cluster and its data would be gone. To end the cluster, \
             switch the machine off"
                .to_owned(),
        );
    }
    let Some(first) = peers.first() else {
        return wait("no other member has a quorum behind it");
    };
    if let Some(why) = another_cluster(peers, observed.cluster) {
        return Plan::Refuse(why);
    }
    if !same_member_list(peers) {
        return wait("the members do not agree on the member list yet");
    }
    if !is_listed(peers, *member) {
        return Plan::AlreadyRemoved;
    }
    if let Some(learner) = first.members.iter().find(|other| other.is_learner && other.id != *member) {
        return wait(format!("{} is being added", learner.title()));
    }
    let ill = unhealthy(peers, *member);
    if !ill.is_empty() {
        return wait(format!(
            "of those that stay {} is not well, and without this node the cluster could lose its quorum. Bring it back \
             first, or remove it with `etcdctl member remove`",
            ill.join(", ")
        ));
    }
    if observed.leader == Some(*member) {
        // The one that has applied most is in sync; etcd itself lets the new leader catch up before it leads.
        return match peers.iter().max_by_key(|peer| peer.index) {
            Some(next) => Plan::TransferLeadership(next.member_id),
            None => wait("no other voter can lead"),
        };
    }
    Plan::Remove(first.url.clone())
}

fn wait(why: impl Into<String>) -> Plan {
    Plan::Wait(why.into())
}

#[cfg(test)]
mod tests;
