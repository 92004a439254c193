//! One member as shown by `firstboot status`.

use serde::Serialize;

use crate::etcd;
use crate::reason::Reason;

/// The state of one member.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the JSON")]
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
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
    /// The shortest round trip of a few connections, in milliseconds.
    pub(super) round_trip_ms: Option<f64>,
    /// The time at which its certificate expires.
    pub(super) certificate_until: Option<String>,
    /// Whether the cluster's member list contains it; true for the recipe's members if no member
    /// list is available.
    pub(super) member: bool,
    /// Whether its data differs from the majority's, or from the others' if there is no majority.
    pub(super) apart: bool,
    /// Whether an operator excluded it from the bootstrap, according to this node's journal.
    pub(super) without: bool,
    pub(super) errors: Vec<Reason>,
    /// Its id, or 0 if it did not answer.
    #[serde(skip)]
    pub(super) member_id: u64,
    /// Whether it is a voter that answers through raft.
    #[serde(skip)]
    pub(super) votes: bool,
    /// The alarms of all members, as reported by this member.
    #[serde(skip)]
    pub(super) alarms: Vec<etcd::AlarmMember>,
    /// The members as reported by this member, empty if it did not answer.
    #[serde(skip)]
    pub(super) list: Vec<etcd::Member>,
    /// Facts that require no correction.
    pub(super) notes: Vec<Reason>,
}
