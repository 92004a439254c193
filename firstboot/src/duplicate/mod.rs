//! Determines whether a second machine runs with this node's identity.
//!
//! `address` probes with ARP for another machine with this node's address, and `conflict_monitor`
//! detects a copy that starts at the same moment. `preflight` queries the other members before etcd
//! starts.

mod address;
mod conflict_monitor;
mod packet;
mod preflight;
mod rival_timeout;
mod socket;

pub(crate) use address::{DuplicateProbe, ask};
pub(crate) use preflight::{check_still_member, removed, rule_out_duplicate, until_missed};
pub(crate) use rival_timeout::RivalTimeout;
