//! Decides how a node with an empty disk returns to its running cluster. The rule is a pure
//! function that maps the members' reports to the next step. firstboot observes the cluster again
//! after each step, so it detects a step that etcd executed but did not confirm.
//!
//! etcd's own checks (server/etcdserver/server.go) refuse too late, or with messages that are too
//! vague for an operator. Therefore, this module makes equivalent checks before any change.
//! firstboot removes the old member before it adds the new member, because etcd refuses two members
//! with the same peer URL. If the dead member stayed in the member list, the promotion of the new
//! member would also raise the quorum.

use std::collections::BTreeSet;

use recipes::upgrade::{self, EtcdStart};
use recipes::{EtcdVersion, Label};

use crate::etcd::Member;
use crate::membership::{
    MemberReport, find_duplicate, is_own_entry, own_entries, peer_url_of, same_member_list,
    versions,
};
use crate::reason::{Reason, ReasonId};

/// The observed state of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observed {
    /// The name of this node.
    pub(crate) name: Label,
    /// The node's peer URL.
    pub(crate) peer_url: String,
    /// The version of this node's etcd.
    pub(crate) version: EtcdVersion,
    /// The number of bytes that are free for the node's data.
    pub(crate) free: u64,
    /// The id of the member that was added for this disk and has never started.
    pub(crate) added: Option<u64>,
    /// The reports of the members that answered a linearizable read.
    pub(crate) peers: Vec<MemberReport>,
    /// The clusters of all members that run etcd, whether or not these clusters have a quorum.
    pub(crate) clusters: BTreeSet<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RebuildStep {
    /// Wait, for this reason.
    Wait(Reason),
    /// Wait, because another machine may be running this node's member. The reason names the member
    /// that is still connected to this node's member.
    DuplicateMember(Reason),
    /// Write to the cluster until its members have compacted their raft logs.
    CompactRaftLog,
    /// Remove this node's former member.
    Remove(u64),
    /// Add this node as a learner to this cluster.
    Add(u64),
    /// Start etcd as one of the members in this list of names and peer URLs.
    Join(Vec<(String, String)>),
}

/// The free space that a joining member needs in addition to the size of the database. The member
/// needs this space for its write-ahead log and for the snapshot that it receives.
const ROOM: u64 = 256 << 20;

/// The maximum difference, in seconds, between this node's clock and the other members' clocks. If
/// at least one other member's clock is within this difference, firstboot accepts this node's
/// clock. Leases and certificates depend on the clock. etcd warns about a difference of one second
/// or more, and the date of an HTTP response has a resolution of one second.
const CLOCK: i64 = 5;

/// The number of entries after which a member of 3.6 or later has compacted its raft log in memory
/// for the first time (server/etcdserver/server.go, memorySnapshotCount).
pub(crate) const ENTRIES_BEFORE_COMPACTION: u64 = 100;
/// The first minor version that cannot read requests of the v2 API in the log.
const FIRST_WITHOUT_V2: u64 = 7;

pub(crate) fn plan(observed: &Observed) -> RebuildStep {
    let Observed {
        peers, clusters, ..
    } = observed;
    if clusters.len() > 1 {
        return clusters_differ(clusters);
    }
    let Some(first) = peers.first() else {
        return wait(
            ReasonId::NoQuorum,
            "no other member answered, or the cluster has no quorum. Start the missing members; if they are lost, use `firstboot restore`",
        );
    };
    if let Some(why) = wrong_responder(peers) {
        return wait(ReasonId::WrongResponder, why);
    }
    if !same_member_list(peers) {
        return wait(
            ReasonId::MemberListsDiffer,
            "the members do not agree on the member list yet",
        );
    }
    let voters: BTreeSet<u64> = first
        .members
        .iter()
        .filter(|member| !member.is_learner)
        .map(|member| member.id)
        .collect();
    let own = own_entries(first, observed.name.as_str(), &observed.peer_url);
    if let [only] = own.as_slice()
        && observed.added == Some(only.id)
    {
        return RebuildStep::Join(names(observed, first));
    }
    if let Some(plan) = without_quorum(peers, &voters) {
        return plan;
    }
    if let Some(why) = unfit(observed) {
        return RebuildStep::Wait(why);
    }
    if let Some(learner) = first
        .members
        .iter()
        .find(|member| member.is_learner && !own.contains(member))
    {
        let learner = learner.title();
        return wait(
            ReasonId::LearnerPending,
            format!("{learner} is still a learner, and etcd accepts only one learner at a time"),
        );
    }
    if sends_uncompacted_log(observed) {
        return RebuildStep::CompactRaftLog;
    }
    match own.as_slice() {
        [] => RebuildStep::Add(first.cluster_id),
        [old] => find_duplicate(peers, old.id)
            .map_or(RebuildStep::Remove(old.id), RebuildStep::DuplicateMember),
        _ => ambiguous(observed, &own),
    }
}

fn clusters_differ(clusters: &BTreeSet<u64>) -> RebuildStep {
    let ids: Vec<String> = clusters.iter().map(|id| format!("{id:x}")).collect();
    wait(
        ReasonId::ClustersDiffer,
        format!(
            "the other members belong to different clusters: {}. Stop the members that do not belong to this cluster",
            ids.join(", ")
        ),
    )
}

fn without_quorum(peers: &[MemberReport], voters: &BTreeSet<u64>) -> Option<RebuildStep> {
    let well = peers
        .iter()
        .filter(|peer| voters.contains(&peer.member_id))
        .count();
    let quorum = voters.len() / 2 + 1;
    if well < quorum {
        return Some(wait(
            ReasonId::NoQuorum,
            format!(
                "only {well} of {} voters are healthy; {quorum} are required",
                voters.len()
            ),
        ));
    }
    None
}

/// Returns the reason to wait if several members have this node's name or address.
fn ambiguous(observed: &Observed, own: &[&Member]) -> RebuildStep {
    let ids: Vec<String> = own
        .iter()
        .map(|member| format!("{:x} at {}", member.id, peer_url_of(member)))
        .collect();
    wait(
        ReasonId::MemberAmbiguous,
        format!(
            "several members have this node's name or its address {}: {}. Remove all but one with `etcdctl member \
                     remove`",
            observed.peer_url,
            ids.join(", ")
        ),
    )
}

/// Returns a message if a different member answers at the address of a listed member. Several
/// clusters may share a CA, and an address may be reassigned to a different machine. Without this
/// check, a node could be added to the wrong cluster and would then be missing from its own
/// cluster.
fn wrong_responder(peers: &[MemberReport]) -> Option<String> {
    peers.iter().find_map(|peer| {
        let own = peer.members.iter().find(|member| member.id == peer.member_id)?;
        (own.title() != peer.name).then(|| {
            format!(
                "{} of the cluster {:x} answers at {}, the address of {}: another cluster may be using an address of this cluster",
                own.title(),
                peer.cluster_id,
                peer.url,
                peer.name
            )
        })
    })
}

fn wait(id: ReasonId, why: impl Into<String>) -> RebuildStep {
    RebuildStep::Wait(id.because(why))
}

/// Returns why this node cannot run as a member, or `None` if it can run.
fn unfit(observed: &Observed) -> Option<Reason> {
    if let Some(why) = other_versions(observed) {
        return Some(ReasonId::EtcdVersion.because(why));
    }
    // If this node's clock agrees with the clock of at least one other member, this node's clock
    // counts as correct. If the clocks of all other members differ from this node's clock, this
    // node's clock counts as wrong.
    let off = observed
        .peers
        .iter()
        .map(|peer| peer.ahead)
        .min_by_key(|ahead| ahead.abs())
        .unwrap_or_default();
    if off.abs() > CLOCK {
        return Some(ReasonId::ClockOff.because(format!(
            "the clocks of all other members differ from this node's clock; the smallest difference \
             is {off} s. Correct this node's clock; see `chronyc tracking`"
        )));
    }
    let database = observed
        .peers
        .iter()
        .map(|peer| peer.database)
        .max()
        .unwrap_or_default();
    let needed = database + ROOM;
    (observed.free < needed).then(|| {
        let mib = |bytes: u64| bytes >> 20;
        ReasonId::DiskFull.because(format!(
            "this node has {} MiB free for etcd, but joining needs {} MiB: the cluster's database takes {} MiB",
            mib(observed.free),
            mib(needed),
            mib(database)
        ))
    })
}

/// Returns whether a member might send its log from the first entry on. A log that etcd 3.5 began
/// contains requests of the v2 API, which etcd 3.7 on this node cannot read. A leader that still
/// has all entries sends them to a new member. A leader that has compacted its log sends a snapshot
/// instead. The snapshot is newer than all requests of the v2 API, because etcd 3.6 does not write
/// such requests. In a test with a log that etcd 3.5.35 started and etcd 3.6.16 continued, a new
/// member with etcd 3.7.3 panicked if the log had 69 entries, and ran if the log had 129 entries.
fn sends_uncompacted_log(observed: &Observed) -> bool {
    let mut older = observed
        .peers
        .iter()
        .filter(|peer| peer.version.minor < FIRST_WITHOUT_V2);
    observed.version.minor >= FIRST_WITHOUT_V2
        && older.any(|peer| peer.index <= ENTRIES_BEFORE_COMPACTION)
}

/// Returns why this node's etcd must not run with the versions of the other members, or `None` if
/// it may run. A change to a different minor version requires that the version of every member be
/// known, because a member that is down may be too old.
fn other_versions(observed: &Observed) -> Option<String> {
    let (own, peers) = (observed.version, &observed.peers);
    if let Some(obstacle) = upgrade::obstacle(own, EtcdStart::AsNewMember, &versions(peers)) {
        return Some(obstacle.to_string());
    }
    let other = peers.iter().find(|peer| peer.version.minor != own.minor)?;
    let heard: BTreeSet<u64> = peers.iter().map(|peer| peer.member_id).collect();
    let replaced =
        |member: &Member| is_own_entry(member, observed.name.as_str(), &observed.peer_url);
    let silent = other
        .members
        .iter()
        .find(|member| !heard.contains(&member.id) && !replaced(member))?;
    Some(format!(
        "{} runs etcd {}, this node runs {own}, and {} does not answer: to change the minor \
         version, firstboot must know the version of every member. Start that member",
        other.name,
        other.version,
        silent.title()
    ))
}

/// Returns the value of `initial-cluster`. A member that has never started does not have a name
/// yet, so the value contains an arbitrary name for that member. The arbitrary name must differ
/// from this node's name, because etcd finds its own entry by the name.
fn names(observed: &Observed, peer: &MemberReport) -> Vec<(String, String)> {
    let named = peer.members.iter().flat_map(|member| {
        let own = member.peer_urls.contains(&observed.peer_url);
        let name = if own {
            observed.name.to_string()
        } else {
            member.title()
        };
        member
            .peer_urls
            .iter()
            .map(move |url| (name.clone(), url.clone()))
    });
    named.collect()
}

#[cfg(test)]
mod tests;
