//! The terms that the journal writes down and all other modules read.

mod bootstrap_mode;
mod ca_subject;
mod disk_id;
mod etcd_ids;
mod start;

pub(crate) use bootstrap_mode::{Task, short};
pub(crate) use ca_subject::Name;
pub(crate) use disk_id::{Lives, Nonce};
pub(crate) use etcd_ids::{cluster_id, member_id};
pub(crate) use start::Start;
