//! Defines the types that the journal and other modules share.

mod bootstrap_mode;
mod ca_subject;
mod disk_id;
mod etcd_ids;
mod initial_cluster;
mod nonce;

pub(crate) use bootstrap_mode::{BootstrapMode, short};
pub(crate) use ca_subject::CaSubject;
pub(crate) use disk_id::DiskId;
pub(crate) use etcd_ids::{cluster_id, member_id};
pub(crate) use initial_cluster::InitialCluster;
pub(crate) use nonce::{Nonce, Nonces};
