//! A client application, which runs outside the nodes and has its own certificate.
//!
//! The client uses etcd's JSON gateway, whose answer to a write shows whether the write was done.
//! The client keeps its connections open instead of starting etcdctl for each write, because the
//! start of etcdctl takes more time than a write.

mod connection;
mod registers;
mod voters;
mod writers;

pub use connection::{Client, Member, OPERATOR, insist};
pub use registers::{Histories, Registers};
pub use voters::Voters;
pub use writers::{Writers, Written};
