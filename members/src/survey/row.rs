//! Describes one member, as `firstboot status` shows it.

use serde::Serialize;

use crate::etcd;
use crate::keys::ImageCheck;
use crate::reason::Reason;

/// The state of one member.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each field is a key of the JSON"
)]
#[expect(
    missing_docs,
    reason = "each field is a key of the JSON, and docs/status.md describes the keys"
)]
#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    pub name: String,
    pub endpoint: String,
    pub healthy: bool,
    pub leader: bool,
    pub learner: bool,
    pub version: String,
    pub db_size: i64,
    pub revision: i64,
    pub raft_term: u64,
    pub raft_index: u64,
    /// The shortest round trip of a few connections, in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// The expiry time of the certificate that the member presents to its clients.
    pub certificate_until: Option<String>,
    pub certificate_days_left: Option<i64>,
    /// The expiry time of the certificate that the member presents to its peers. The value is
    /// `None` if the member did not answer, or if this machine cannot reach the member's peer port.
    pub peer_certificate_until: Option<String>,
    pub peer_certificate_days_left: Option<i64>,
    /// Whether the cluster's member list contains the member. The value is true for the recipe's
    /// members if no member list is available.
    pub member: bool,
    /// Whether the member's data differs from the majority's data, or from the other members' data
    /// if there is no majority.
    pub apart: bool,
    /// Whether an operator excluded the member from the bootstrap. The value is false if `member`
    /// is true.
    pub without: bool,
    /// The newest check of the node's own files, or `None` if there is no check or no member
    /// answers through raft.
    pub image_check: Option<ImageCheck>,
    pub errors: Vec<Reason>,
    /// The member's id, or 0 if the member did not answer.
    #[serde(skip)]
    pub member_id: u64,
    /// Whether the member is a voter that answers through raft.
    #[serde(skip)]
    pub votes: bool,
    /// The alarms of all members, as reported by this member.
    #[serde(skip)]
    pub alarms: Vec<etcd::AlarmMember>,
    /// The members as reported by this member. The list is empty if the member did not answer.
    #[serde(skip)]
    pub list: Vec<etcd::Member>,
    /// Remarks that do not make the member unhealthy.
    pub notes: Vec<Reason>,
}
