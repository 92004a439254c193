//! Whether a second machine runs with this node's identity.
//!
//! `address` asks by ARP for another machine with this node's address, and `conflict_monitor` listens for a copy that asks
//! at the same moment. `preflight` asks the other members, before etcd starts, what they say of this node's member.

mod address;
mod conflict_monitor;
mod packet;
mod preflight;
mod rival_timeout;
mod socket;

pub(crate) use address::{DuplicateProbe, ask};
pub(crate) use preflight::{check_still_member, removed, rule_out_duplicate, until_missed};
pub(crate) use rival_timeout::RivalTimeout;
