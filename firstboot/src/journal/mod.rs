//! The journal records what this node did, in order. The node's state follows from the journal.
//!
//! `file` stores the lines and `event` defines their content. `state` derives the node's state from
//! the events, and `disk_state` classifies the disk according to the events and to etcd's volume.
//! `disk_id_file` stores the disk id on the volume. `archive` records that data is no longer used,
//! and moves it to the archive. `wal_record` records the data in which etcd has created its WAL.
//! `installer_copy` removes the copy of the journal that the installer made.

mod archive;
mod disk_id_file;
mod disk_state;
mod event;
mod file;
mod installer_copy;
mod state;
mod wal_record;

pub(crate) use archive::{ArchiveReason, archive_data, archive_path};
pub(crate) use disk_id_file::{DiskIdMatch, compare_disk_id_file, init_disk_id, write_disk_id};
pub(crate) use disk_state::{DiskState, classify_disk};
pub(crate) use event::{DataSwap, Event, RestoreOrder, SnapshotFile};
pub(crate) use file::{Entry, Journal, Line, lines};
pub(crate) use installer_copy::remove_installer_copy;
#[cfg(test)]
pub(crate) use state::tests::restored;
pub(crate) use state::{ArchivedData, MembershipIntent, NodeState};
pub(crate) use wal_record::record_wal;
