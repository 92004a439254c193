//! Records the data in which etcd has created its WAL.

use std::path::Path;

use anyhow::Result;

use super::event::Event;
use super::file::Journal;
use super::state::NodeState;
use crate::data::{self, DataIdentity, WalCheckpoint, WalEnd};
use crate::paths;

/// Flushes the WAL, writes the WAL checkpoint, and then records the identity of the data in the
/// journal. Because of the flush, the checkpoint is not ahead of the WAL after a power cut. If the
/// function is interrupted, the next run repeats all steps.
pub(crate) fn record_wal(journal: &mut Journal, known: DataIdentity, wal: WalEnd) -> Result<()> {
    if let Some(disk_id) = NodeState::of(journal).disk_id {
        data::flush_wal(Path::new(paths::DATA))?;
        WalCheckpoint::starting(disk_id, wal).write()?;
    }
    journal.add(Event::WalCreated(known))
}
