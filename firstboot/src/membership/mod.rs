//! Queries the other members, and draws conclusions from their answers.
//!
//! `peer_client` probes the peer port with the barrier's `protocol` and the certificates of
//! `peer_tls`. `peers` queries etcd on the client port. `list` compares the member lists.
//! `leadership` transfers the leadership and removes members. `active_streams` and `liveness`
//! determine from etcd's metrics which members are running.

mod active_streams;
mod leadership;
mod list;
mod liveness;
mod peer_client;
pub(crate) mod peer_tls;
mod peers;
pub(crate) mod protocol;

pub(crate) use active_streams::ActiveStreams;
pub(crate) use leadership::{remove_member, transfer_leadership};
pub(crate) use list::{
    MemberReport, another_cluster, find_duplicate, is_listed, is_own_entry, listed_member_id,
    own_entries, peer_url_of, removed_reason, same_member_list, unhealthy, versions,
};
pub(crate) use liveness::{Liveness, LivenessDetector, OBSERVATION_INTERVAL, read_traffic};
pub(crate) use peer_client::{NO_ANSWER, NO_ROUTE, PeerClient, ProbeResult};
pub(crate) use peers::{QUERY_TIMEOUT, extra_peers, query_others, query_own, recipe_peers};
pub(crate) use protocol::{Announcement, BarrierPhase, PeerState};
