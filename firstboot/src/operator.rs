//! Carries out an operator's order while firstboot.service is stopped.

use anyhow::Result;
use clap::builder::RangedU64ValueParser;

use crate::journal::Journal;
use crate::lock::Lock;
use crate::paths;
use crate::systemd::{self, FIRSTBOOT_UNIT};
use crate::terminal::HeldSignals;

/// Returns the parser of `--deadline`, which accepts a number of seconds up to thirty days.
pub(crate) fn timeout_parser() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(..=30 * 86_400)
}

/// Stops firstboot.service, changes the journal, and starts the unit again. The unit continues with
/// the changed journal.
pub(crate) fn with_journal<T>(act: impl FnOnce(&mut Journal) -> Result<T>) -> Result<T> {
    while_stopped(|| act(&mut Journal::open(paths::JOURNAL)?))
}

/// Stops firstboot.service, changes the node's state, and starts the unit again. etcd continues to
/// run, unless `act` stops it. A signal from the terminal does not end the process before the unit
/// has been started again. If `act` receives the signals itself, they do not end the process at
/// all.
pub(crate) fn while_stopped<T>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    let _held = HeldSignals::hold()?;
    systemd::stop(FIRSTBOOT_UNIT)?;
    let acted = Lock::take().and_then(|_lock| act());
    // Start the unit even after an error. If the start also fails, return the first error.
    let started = systemd::start(FIRSTBOOT_UNIT);
    acted.and_then(|value| started.map(|()| value))
}
