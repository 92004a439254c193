//! What an application is to a cluster: a client outside of the nodes, with a certificate of its
//! own.
//!
//! It speaks etcd's JSON gateway, whose answer to a write says whether it was done, over
//! connections that stay open: etcdctl would spend more on its start than on the write.

mod connection;
mod registers;
mod voters;
mod writers;

pub use connection::{Client, Member, insist};
pub use registers::{Histories, Registers};
pub use voters::Voters;
pub use writers::{Writers, Written};
