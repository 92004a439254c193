//! Records the end of the member's WAL at etcd's last start and stop. The record is a file on
//! etcd's volume, but etcd cannot write to this file. With this record, firstboot detects an older
//! copy of the data, even if the copy was written into the same directories.

use serde::{Deserialize, Serialize};

use anyhow::{Context as _, Result};

use super::recorded::RecordedData;
use super::wal::WalEnd;
use crate::domain::DiskId;
use crate::files::{self, DesiredFile, ROOT};
use crate::paths;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WalCheckpoint {
    #[serde(rename = "life")]
    disk_id: DiskId,
    /// Whether the record was written before a start of etcd. If so, the WAL may have grown since
    /// the record was written.
    running: bool,
    /// The end of the WAL when the record was written.
    #[serde(rename = "log")]
    wal: WalEnd,
}

impl WalCheckpoint {
    /// Creates the record to write before etcd starts.
    pub(crate) fn starting(disk_id: DiskId, wal: WalEnd) -> Self {
        Self {
            disk_id,
            running: true,
            wal,
        }
    }

    /// Creates the record to write after etcd has stopped, with the current end of the WAL. Returns
    /// `None` if this record was written after a stop of etcd, because etcd has not started since
    /// then. Also returns `None` if this WAL cannot have grown from the recorded WAL.
    pub(crate) fn stopped(&self, wal: WalEnd) -> Option<Self> {
        (self.running && self.compare(&wal).is_ok()).then_some(Self {
            running: false,
            wal,
            ..*self
        })
    }

    /// Returns the record for this disk, member and cluster, or `None` if there is none.
    pub(crate) fn read(expected: &RecordedData) -> Result<Option<Self>> {
        let Some(bytes) = files::read_if_there(paths::WAL_CHECKPOINT)? else {
            return Ok(None);
        };
        // An interrupted write cannot have damaged the file, because firstboot replaces the file in
        // one step.
        let checkpoint: Self = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{0} is damaged. If you are sure that etcd's data is this member's newest data, delete {0}",
                paths::WAL_CHECKPOINT
            )
        })?;
        // A restore replaces the WAL, so a record about the previous data does not apply.
        let same = expected.disk_id == Some(checkpoint.disk_id)
            && expected.identity.is_some_and(|known| {
                (known.member, known.cluster) == (checkpoint.wal.member, checkpoint.wal.cluster)
            });
        Ok(same.then_some(checkpoint))
    }

    /// Writes the file durably.
    pub(crate) fn write(&self) -> Result<()> {
        DesiredFile::new(paths::WAL_CHECKPOINT, serde_json::to_vec(self)?)
            .mode(0o600, ROOT)
            .write()
    }

    /// Compares the WAL with the record. If the record was written after a stop of etcd, the WAL
    /// must be the recorded WAL. If the record was written before a start of etcd, the WAL may have
    /// grown since then. Returns the reason if the check fails.
    pub(super) fn compare(&self, now: &WalEnd) -> Result<(), String> {
        let before = &self.wal;
        if !self.running {
            let same = before == now;
            return same.then_some(()).ok_or_else(|| {
                format!(
                    "its WAL is not the WAL that etcd left when it stopped: it ends at entry {} of term {}, \
                     and etcd's WAL ended at entry {} of term {}",
                    now.last, now.term, before.last, before.term
                )
            });
        }
        // The term and the committed index never decrease (raft, section 5.1; raftpb.HardState).
        if now.term < before.term || now.commit < before.commit || now.last < before.commit {
            return Err(format!(
                "its WAL is at term {} with {} committed entries, but was at term {} with {} \
                 committed entries when etcd last started",
                now.term, now.commit, before.term, before.commit
            ));
        }
        // A member votes at most once in a term (raft, section 5.2).
        if now.term == before.term && before.vote != 0 && now.vote != before.vote {
            return Err(format!(
                "in term {}, its WAL records a vote for {:x}, but this member voted for {:x}",
                now.term, now.vote, before.vote
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_the_same_as_in_earlier_versions() {
        let checkpoint = WalCheckpoint::starting(DiskId::of(1), WalEnd::default());
        let text = serde_json::to_string(&checkpoint).unwrap();
        assert!(
            text.starts_with(
                r#"{"life":"00000000000000000000000000000001","running":true,"log":{"#
            ),
            "{text}"
        );
    }

    #[test]
    fn a_wal_with_the_same_end_and_another_vote_is_another_wal() {
        let before = WalEnd::default();
        let started = WalCheckpoint::starting(DiskId::of(1), before);
        let checkpoint = started.stopped(before).unwrap();
        let now = WalEnd { vote: 7, ..before };
        let why = checkpoint.compare(&now).unwrap_err();
        assert!(
            why.starts_with("its WAL is not the WAL that etcd left"),
            "{why}"
        );
        checkpoint.compare(&before).unwrap();
    }
}
