//! What a node with an empty disk does to a cluster that lives without it, as a pure function: from what its members
//! say to the next step. After each step all is observed anew, so a step that was done and not confirmed is seen.
//!
//! The server's own guards (server/etcdserver/server.go) say no too late or too vaguely for an operator: every one of
//! them has its answer here before anything is changed. The old member is removed before the new one is added, since
//! etcd refuses two with one peer URL, and since with the dead one still counted the new one would raise the quorum.

use std::collections::BTreeSet;

use recipes::upgrade::{self, Entry};
use recipes::{EtcdVersion, Label};

use crate::etcd::Member;
use crate::membership::{Peer, find_duplicate, own, own_names, place, same_member_list, versions};

/// All that is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observed {
    /// This node.
    pub(crate) name: Label,
    /// What it advertises to peers.
    pub(crate) peer_url: String,
    /// The version of its etcd.
    pub(crate) version: EtcdVersion,
    /// Bytes free for its data.
    pub(crate) free: u64,
    /// The member as which this life of its disk was added; it never started.
    pub(crate) added: Option<u64>,
    /// Those members that answered with a quorum behind them.
    pub(crate) peers: Vec<Peer>,
    /// The clusters of all that run etcd, with a quorum or without.
    pub(crate) clusters: BTreeSet<u64>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing can be done yet, and why.
    Wait(String),
    /// Somebody else seems to be this node, or was until a moment ago; who says so.
    DuplicateMember(String),
    /// Remove the member that this node was.
    Remove(u64),
    /// Add this node as a learner to this cluster.
    Add(u64),
    /// Start etcd as a member of this list of names and peer URLs.
    Join(Vec<(String, String)>),
}

/// Room that a joining member needs beside the leader's database: write-ahead log and the snapshot in the making.
const ROOM: u64 = 256 << 20;

/// How many seconds a node's clock may be off: leases and certificates are judged by it. etcd warns from one second
/// on, which is as exact as a page's date is.
const CLOCK: i64 = 5;

/// The rule.
pub(crate) fn plan(observed: &Observed) -> Plan {
    let Observed { peers, clusters, .. } = observed;
    if clusters.len() > 1 {
        let ids: Vec<String> = clusters.iter().map(|id| format!("{id:x}")).collect();
        return wait(format!("the others are members of different clusters: {}", ids.join(", ")));
    }
    let Some(first) = peers.first() else {
        return wait(
            "none of its members has a quorum behind it. If that does not change by itself, the way back is `firstboot restore`",
        );
    };
    if let Some(why) = wrong_responder(peers) {
        return wait(why);
    }
    if !same_member_list(peers) {
        return wait("its members do not agree on the member list yet");
    }
    let voters: BTreeSet<u64> =
        first.members.iter().filter(|member| !member.is_learner).map(|member| member.id).collect();
    let own = own(first, observed.name.as_str(), &observed.peer_url);
    if let [only] = own.as_slice()
        && observed.added == Some(only.id)
    {
        return Plan::Join(names(observed, first));
    }
    let well = peers.iter().filter(|peer| voters.contains(&peer.member_id)).count();
    let quorum = voters.len() / 2 + 1;
    if well < quorum {
        return wait(format!("only {well} of its {} voters are well, and {quorum} must be", voters.len()));
    }
    if let Some(why) = unfit(observed) {
        return wait(why);
    }
    if let Some(learner) = first.members.iter().find(|member| member.is_learner && !own.contains(member)) {
        return wait(format!("{} is being added, and etcd adds one at a time", learner.title()));
    }
    match own.as_slice() {
        [] => Plan::Add(first.cluster_id),
        [old] => find_duplicate(peers, old.id).map_or(Plan::Remove(old.id), Plan::DuplicateMember),
        _ => {
            let ids: Vec<String> = own.iter().map(|member| format!("{:x} at {}", member.id, place(member))).collect();
            wait(format!(
                "several of its members have this node's name or its address {}: {}; remove all but one with etcdctl",
                observed.peer_url,
                ids.join(", ")
            ))
        }
    }
}

/// Who answers in the place of another, if anybody does. A CA may be that of several clusters, and an address be given
/// to another machine: who is added to the wrong cluster is lost to its own.
fn wrong_responder(peers: &[Peer]) -> Option<String> {
    peers.iter().find_map(|peer| {
        let own = peer.members.iter().find(|member| member.id == peer.member_id)?;
        (own.title() != peer.name).then(|| {
            format!(
                "at {}, which is {}, answers {} of the cluster {:x}. Is that another cluster at this one's address?",
                peer.url,
                peer.name,
                own.title(),
                peer.cluster_id
            )
        })
    })
}

fn wait(why: impl Into<String>) -> Plan {
    Plan::Wait(why.into())
}

/// Why this node could not run as a member, if so.
fn unfit(observed: &Observed) -> Option<String> {
    if let Some(why) = other_versions(observed) {
        return Some(why);
    }
    // One that is off is its own matter; where all are, it is this node that is.
    let off = observed.peers.iter().map(|peer| peer.ahead).min_by_key(|ahead| ahead.abs()).unwrap_or_default();
    if off.abs() > CLOCK {
        return Some(format!(
            "all its members' clocks differ from this node's, the nearest by {off} s: `chronyc tracking`"
        ));
    }
    let database = observed.peers.iter().map(|peer| peer.database).max().unwrap_or_default();
    let needed = database + ROOM;
    (observed.free < needed).then(|| {
        let mib = |bytes: u64| bytes >> 20;
        format!(
            "its database takes {} MiB; {} MiB must be free here, and {} are",
            mib(database),
            mib(needed),
            mib(observed.free)
        )
    })
}

/// Why this node's etcd may not run beside that of the others, if so. A step to another minor is taken only where every
/// member has said its version: one that is down may be too old.
fn other_versions(observed: &Observed) -> Option<String> {
    let (own, peers) = (observed.version, &observed.peers);
    if let Some(obstacle) = upgrade::obstacle(own, Entry::Join, &versions(peers)) {
        return Some(obstacle.to_string());
    }
    let other = peers.iter().find(|peer| peer.version.minor != own.minor)?;
    let heard: BTreeSet<u64> = peers.iter().map(|peer| peer.member_id).collect();
    let replaced = |member: &Member| own_names(member, observed.name.as_str(), &observed.peer_url);
    let silent = other.members.iter().find(|member| !heard.contains(&member.id) && !replaced(member))?;
    Some(format!(
        "{} runs etcd {}, this node is to run {own}, and {} does not answer: every member's version must be known before a \
         step to another minor",
        other.name,
        other.version,
        silent.title()
    ))
}

/// `initial-cluster`. A member that never started has no name yet; any will do but this node's own, which etcd knows
/// itself by.
fn names(observed: &Observed, peer: &Peer) -> Vec<(String, String)> {
    let named = peer.members.iter().flat_map(|member| {
        let own = member.peer_urls.contains(&observed.peer_url);
        let name = if own { observed.name.to_string() } else { member.title() };
        member.peer_urls.iter().map(move |url| (name.clone(), url.clone()))
    });
    named.collect()
}

#[cfg(test)]
mod tests;
