//! A client application as the cluster sees it: it runs outside the nodes and has its own
//! certificate.
//!
//! It uses etcd's JSON gateway, whose answer to a write tells whether the write was done, over
//! connections that stay open: starting etcdctl would cost more than the write.

mod connection;
mod registers;
mod voters;
mod writers;

pub use connection::{Client, Member, insist};
pub use registers::{Histories, Registers};
pub use voters::Voters;
pub use writers::{Writers, Written};
