//! Asks the members of a running cluster. `etcd` is the client, `keys` are the keys through which
//! the firstboots of a cluster coordinate, and `survey` is the state of all members, which both
//! `firstboot status` and `builder status` print.

pub mod compare;
pub mod etcd;
pub mod keys;
pub mod moment;
pub mod reason;
pub mod survey;
