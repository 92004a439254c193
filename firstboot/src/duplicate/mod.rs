//! Determines whether a second machine is running with this node's identity.
//!
//! `address` probes with ARP for another machine with this node's address, and `conflict_monitor`
//! detects a copy of this machine that starts at the same moment. `preflight` queries the other
//! members before etcd starts, and `removal` finds out whether they have removed this member.

mod address;
mod conflict_monitor;
mod duplicate_timeout;
mod packet;
mod preflight;
mod queries;
mod removal;
mod socket;

pub(crate) use address::{DuplicateProbe, start_probe};
pub(crate) use duplicate_timeout::DuplicateTimeout;
pub(crate) use preflight::{
    check_before_start, refuse_only_member, rule_out_duplicate, wait_until_replaceable,
};
pub(crate) use removal::removal_reason;
