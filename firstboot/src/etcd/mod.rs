//! The only access to etcd: gRPC with the node's client certificate. firstboot does not run
//! etcdctl.

mod claim;
mod client;
mod shared;
mod stream;
mod wire;

pub(crate) use claim::LeaseLock;
pub(crate) use client::{Client, Credentials, probe_local};
pub(crate) use wire::{AlarmMember, HashKv, Member, SnapshotResponse, StatusResponse};
