//! Access to etcd through gRPC, with a client certificate. There is no other way to access etcd: no
//! program runs etcdctl.

mod client;
mod credentials;
mod shared;
mod stream;
mod wire;

pub use client::Client;
pub use credentials::Credentials;
pub use shared::Lease;
pub use stream::Pieces;
pub use wire::{
    AlarmMember, DowngradeInfo, HashKv, KeyValue, Member, ResponseHeader, SnapshotResponse,
    StatusResponse,
};
