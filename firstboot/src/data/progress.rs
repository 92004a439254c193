//! How far the member's log went when etcd last started and stopped, on etcd's volume and where etcd cannot write. By it an
//! older copy of the data is noticed even where it was written into the same directories.

use serde::{Deserialize, Serialize};

use anyhow::{Context as _, Result};

use super::expected::Expected;
use super::log::Log;
use crate::domain::DiskId;
use crate::files::{self, DesiredFile, ROOT};
use crate::paths;

/// What was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// In which life of the disk.
    life: DiskId,
    /// Whether etcd was about to run on it: it may have gone on since.
    running: bool,
    /// The log then.
    log: Log,
}

impl Progress {
    /// That etcd is about to run.
    pub(crate) fn starting(life: DiskId, log: Log) -> Self {
        Self { life, running: true, log }
    }

    /// That etcd has stopped, with the log as it is now; `None` where it did not run, or the log is not one that it can have
    /// left.
    pub(crate) fn stopped(&self, log: Log) -> Option<Self> {
        (self.running && self.compare(&log).is_ok()).then_some(Self { running: false, log, ..*self })
    }

    /// What was written down in this life of the disk; `None` where nothing was.
    pub(crate) fn read(expected: &Expected) -> Result<Option<Self>> {
        let Some(bytes) = files::read_if_there(paths::PROGRESS)? else { return Ok(None) };
        // A file that cannot be read is one that firstboot did not write: it writes whole files only.
        let progress: Self = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} is damaged. Remove it, if you are sure that etcd's data is this member's newest",
                paths::PROGRESS
            )
        })?;
        // After a restore the log is another one.
        let same = expected.life == Some(progress.life)
            && expected
                .known
                .is_some_and(|known| (known.member, known.cluster) == (progress.log.member, progress.log.cluster));
        Ok(same.then_some(progress))
    }

    /// Writes it down.
    pub(crate) fn write(&self) -> Result<()> {
        DesiredFile::new(paths::PROGRESS, serde_json::to_vec(self)?).mode(0o600, ROOT).write()
    }

    /// Whether the log now can follow from the one that was written down; else, why not.
    pub(super) fn compare(&self, now: &Log) -> Result<(), String> {
        let before = &self.log;
        if !self.running {
            let same = before == now;
            return same.then_some(()).ok_or_else(|| {
                format!(
                    "its log ends with the entry {} in the term {}, and ended with {} in {} when etcd stopped",
                    now.last, now.term, before.last, before.term
                )
            });
        }
        // A term and what is known to be committed never go back (raft, section 5.1; raftpb.HardState).
        if now.term < before.term || now.commit < before.commit || now.last < before.commit {
            return Err(format!(
                "its log is at the term {} with {} committed entries, and was at {} with {} when etcd last started",
                now.term, now.commit, before.term, before.commit
            ));
        }
        Ok(())
    }
}
