//! Queries the members of a running cluster. `etcd` is the client. `keys` defines the keys in etcd
//! through which the nodes of a cluster coordinate. `survey` collects the state of all members,
//! which `firstboot status` and `builder status` print. `reason` defines the ids of all reasons,
//! `compare` compares the members' data, and `timestamp` formats times.

pub mod compare;
#[cfg(test)]
mod documentation;
pub mod etcd;
pub mod keys;
pub mod reason;
pub mod survey;
pub mod timestamp;
