//! One member as `firstboot status` shows it.

use serde::Serialize;

use crate::etcd;

/// One member as it answered.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the JSON")]
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) endpoint: String,
    pub(super) healthy: bool,
    pub(super) leader: bool,
    pub(super) learner: bool,
    pub(super) version: String,
    pub(super) db_size: i64,
    pub(super) revision: i64,
    pub(super) raft_term: u64,
    pub(super) raft_index: u64,
    /// The round trip to it, in milliseconds: the quickest of a few connections.
    pub(super) round_trip_ms: Option<f64>,
    /// Until when the certificate is valid that it shows.
    pub(super) certificate_until: Option<String>,
    /// Whether it is in the cluster's own member list; what the recipe alone says, where nobody could be asked for that.
    pub(super) member: bool,
    /// Whether its data differs from what the majority of members has, or from the others' where there is no majority.
    pub(super) apart: bool,
    /// Whether an operator left it out when the cluster began, by this node's journal.
    pub(super) without: bool,
    pub(super) errors: Vec<String>,
    /// Its id; 0 where it did not answer.
    #[serde(skip)]
    pub(super) member_id: u64,
    /// Whether it answers through raft: it has a vote, and a quorum behind it.
    #[serde(skip)]
    pub(super) votes: bool,
    /// The alarms of all members, as this one knows them.
    #[serde(skip)]
    pub(super) alarms: Vec<etcd::AlarmMember>,
    /// The members as this one knows them; none where it did not answer.
    #[serde(skip)]
    pub(super) list: Vec<etcd::Member>,
    /// What should be known of it and is nothing to be corrected.
    pub(super) notes: Vec<String>,
}
