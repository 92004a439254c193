//! What this node did, in order, and what follows from it.
//!
//! `file` holds the lines and `event` says what can stand in them; `state` is what they come to,
//! and `disk_state` what they and etcd's volume together say of the disk. `archive` moves data out
//! of etcd's way, and writes that down.

mod archive;
mod disk_id_file;
mod disk_state;
mod event;
mod file;
mod state;

pub(crate) use archive::{archive_data, archive_path};
pub(crate) use disk_id_file::{DiskIdFile, disk_id_file, write_disk_id};
pub(crate) use disk_state::{DiskState, classify_disk};
pub(crate) use event::{DataSwap, Event, RestoreOrder, SnapshotFile};
pub(crate) use file::{Entry, Journal, Line, lines};
#[cfg(test)]
pub(crate) use state::tests::restored;
pub(crate) use state::{ArchivedData, MembershipIntent, NodeState};
