//! Defines the report of a member about its cluster, and draws conclusions from the member lists in
//! these reports.

use std::collections::{BTreeMap, BTreeSet};

use recipes::EtcdVersion;
use recipes::upgrade::{ClusterVersions, RunningMember};

use crate::etcd::Member;
use crate::reason::{Reason, ReasonId};

/// The report of one member of a running cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemberReport {
    pub(crate) name: String,
    pub(crate) url: String,
    /// The id of the cluster to which the member belongs.
    pub(crate) cluster_id: u64,
    /// All members of the cluster, according to a linearizable read.
    pub(crate) members: Vec<Member>,
    pub(crate) member_id: u64,
    /// The index of the last raft entry that the member has applied.
    pub(crate) index: u64,
    /// The version of the member's etcd.
    pub(crate) version: EtcdVersion,
    /// The minor version in the cluster version that the member reports.
    pub(crate) cluster_minor: Option<u64>,
    /// The target minor version of the downgrade that is in force, if any. etcd 3.6 and later
    /// report this version.
    pub(crate) downgrade: Option<u64>,
    /// The minor version in the member's storage version. etcd 3.6 and later report this version.
    pub(crate) storage: Option<u64>,
    /// The size of the member's database in bytes.
    pub(crate) database: u64,
    /// The number of seconds by which the member's clock is ahead of this node's clock.
    pub(crate) ahead: i64,
    /// The members to which the member is connected, each with the bit pattern of the number of
    /// bytes sent to it.
    pub(crate) connected: BTreeMap<u64, u64>,
}

#[cfg(test)]
impl MemberReport {
    /// Returns the report of a member of a cluster with etcd 3.5, for tests.
    pub(crate) fn example(cluster_id: u64, member_id: u64, members: &[Member]) -> Self {
        Self {
            name: format!("etcd-{member_id}"),
            url: format!("https://10.0.0.{member_id}:2379"),
            cluster_id,
            members: members.to_vec(),
            member_id,
            index: 100,
            version: "3.5.33".parse().unwrap(),
            cluster_minor: Some(5),
            downgrade: None,
            storage: None,
            database: 1 << 20,
            ahead: 0,
            connected: BTreeMap::new(),
        }
    }
}

/// Returns the members with this node's name or peer URL. The comparison includes the name because
/// a new image may have given the node a different address, and etcd treats two members with the
/// same name as one member with two addresses.
pub(crate) fn own_entries<'a>(peer: &'a MemberReport, name: &str, url: &str) -> Vec<&'a Member> {
    peer.members
        .iter()
        .filter(|member| is_own_entry(member, name, url))
        .collect()
}

/// Returns whether a member has this name or this peer URL.
pub(crate) fn is_own_entry(member: &Member, name: &str, url: &str) -> bool {
    member.name == name || member.peer_urls.iter().any(|own| own == url)
}

/// Returns the id of the member with this name or peer URL, if the first peer lists exactly one
/// such member.
pub(crate) fn listed_member_id(peers: &[MemberReport], name: &str, url: &str) -> Option<u64> {
    match own_entries(peers.first()?, name, url).as_slice() {
        [only] => Some(only.id),
        _ => None,
    }
}

/// If one of the peers answers as this member or is connected to this member, returns the reason to
/// suspect a duplicate.
pub(crate) fn find_duplicate(peers: &[MemberReport], member: u64) -> Option<Reason> {
    let witness = peers
        .iter()
        .find(|peer| peer.connected.contains_key(&member) || peer.member_id == member)?;
    let listed = witness.members.iter().find(|listed| listed.id == member);
    let observed = if witness.member_id == member {
        format!(
            "the etcd at {} answers as this node's member {member:x}",
            witness.url
        )
    } else {
        let address = listed.map_or("", peer_url_of);
        format!(
            "{} is still connected to this node's member {member:x} at {address}",
            witness.name
        )
    };
    Some(ReasonId::DuplicateSuspected.because(format!(
        "{observed}, but etcd is stopped here: a second machine with this identity may be running. Switch off the machine \
         that must not run, then run `systemctl restart firstboot` on the other machine",
    )))
}

pub(crate) fn peer_url_of(member: &Member) -> &str {
    member.peer_urls.first().map_or("", String::as_str)
}

pub(crate) fn is_listed(peers: &[MemberReport], member: u64) -> bool {
    peers
        .iter()
        .any(|peer| peer.members.iter().any(|listed| listed.id == member))
}

/// Returns the message for a member that was removed.
pub(crate) fn removed_reason(member: u64) -> Reason {
    ReasonId::MemberRemoved.because(format!(
        "this node's member {member:x} was removed from the cluster. To join again as a new member, run `firstboot run \
         --rejoin`, which archives the old data, or reinstall the machine"
    ))
}

/// If none of the peers belongs to this node's cluster, returns the reason to refuse this node.
/// Returns `None` if there are no peers, or if the id of this node's cluster is unknown.
pub(crate) fn another_cluster(peers: &[MemberReport], cluster: Option<u64>) -> Option<Reason> {
    let (own, theirs) = (cluster?, peers.first()?.cluster_id);
    (!peers.iter().any(|peer| peer.cluster_id == own)).then(|| {
        ReasonId::AnotherCluster.because(format!(
            "the other members belong to the cluster {theirs:x}, but this node belongs to {own:x} and contains data of {own:x}, which firstboot does not change. If that data is not needed, reinstall the machine"
        ))
    })
}

/// Returns the other voters that are not healthy, and all other learners, because a learner may
/// become a voter that counts for the quorum.
pub(crate) fn unhealthy(peers: &[MemberReport], member: u64) -> Vec<String> {
    let well: BTreeSet<u64> = peers.iter().map(|peer| peer.member_id).collect();
    let others = peers
        .iter()
        .flat_map(|peer| &peer.members)
        .filter(|other| other.id != member);
    let ill = others.filter(|other| other.is_learner || !well.contains(&other.id));
    ill.map(Member::title)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// Returns whether all peers report the same member list.
pub(crate) fn same_member_list(peers: &[MemberReport]) -> bool {
    peers.iter().all(|peer| ids(peer) == ids(&peers[0]))
}

fn ids(peer: &MemberReport) -> BTreeSet<(u64, bool, &[String])> {
    peer.members
        .iter()
        .map(|member| (member.id, member.is_learner, member.peer_urls.as_slice()))
        .collect()
}

pub(crate) fn versions(peers: &[MemberReport]) -> ClusterVersions {
    ClusterVersions {
        members: peers
            .iter()
            .map(|peer| RunningMember {
                name: peer.name.clone(),
                version: peer.version,
            })
            .collect(),
        cluster_minor: peers.iter().filter_map(|peer| peer.cluster_minor).max(),
        downgrading: peers.iter().any(|peer| peer.downgrade.is_some()),
    }
}
