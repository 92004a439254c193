//! Implements three locks. The first lock allows only one firstboot at a time to change the node,
//! the second lock allows only one process at a time to update the node, and the third lock allows
//! only one process at a time to prepare a restore.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::exit::not_ready;
use crate::files::{self, DesiredDir};
use crate::paths;
use crate::reason::ReasonId;

/// A lock on the node, its updates or its restores. The kernel releases the lock when the process ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl Lock {
    /// Returns whether a running firstboot holds the lock.
    pub(crate) fn is_held() -> bool {
        let Ok(file) = files::open(Path::new(paths::LOCK)) else {
            return false;
        };
        Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
    }

    /// Acquires the lock.
    ///
    /// # Errors
    /// Returns a "not ready" error if another firstboot holds the lock.
    pub(crate) fn take() -> Result<Self> {
        Self::at(
            paths::LOCK,
            ReasonId::FirstbootBusy,
            "another firstboot is running on this node: `systemctl status firstboot` shows its progress",
        )
    }

    /// Acquires the lock for updates. Returns a "not ready" error if another process holds the
    /// lock.
    pub(crate) fn take_updates() -> Result<Self> {
        Self::at(
            paths::UPDATE_LOCK,
            ReasonId::UpdateBusy,
            "an update of this node is in progress: `systemctl status firstboot-update` shows its state",
        )
    }

    /// Acquires the lock for the preparation of a restore. Returns a "not ready" error if another
    /// process holds the lock.
    pub(crate) fn take_restore() -> Result<Self> {
        Self::at(
            paths::RESTORE_LOCK,
            ReasonId::FirstbootBusy,
            "another `firstboot restore` is preparing a restore on this node. Run this command again after the other command has ended",
        )
    }

    fn at(path: &str, id: ReasonId, busy: &str) -> Result<Self> {
        DesiredDir::new(paths::RUN, 0o755, files::ROOT).make()?;
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {path}"))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map(Self)
            .map_err(|_| not_ready(id.because(busy)))
    }
}
