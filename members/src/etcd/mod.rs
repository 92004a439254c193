//! Access to etcd through gRPC, with a client certificate. This is the only one: no program runs
//! etcdctl.

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
