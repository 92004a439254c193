//! Accesses etcd through gRPC, with a client certificate. No program of this project runs etcdctl.

mod alarms;
mod client;
mod credentials;
mod shared;
mod stream;
mod wire;

pub use client::Client;
pub use credentials::Credentials;
pub use shared::Lease;
pub use stream::SnapshotStream;
pub use wire::{
    AlarmMember, DowngradeInfo, HashKv, KeyValue, Member, ResponseHeader, SnapshotResponse,
    StatusResponse,
};
