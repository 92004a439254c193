//! What an operator's command does to the journal that firstboot.service works by.

use anyhow::Result;

use crate::journal::Journal;
use crate::lock::Lock;
use crate::{paths, systemd};

/// The unit that waits, and must not while its journal is written to.
pub(crate) const UNIT: &str = "firstboot.service";

/// Acts on the journal while nobody else does; firstboot.service then goes on with what is written there.
pub(crate) fn with_journal<T>(act: impl FnOnce(&mut Journal) -> Result<T>) -> Result<T> {
    systemd::stop(UNIT)?;
    let acted = Lock::take().and_then(|_lock| act(&mut Journal::open(paths::JOURNAL)?));
    // Whatever came of it; but why it failed says more than why the unit did not start.
    let started = systemd::start(UNIT);
    acted.and_then(|value| started.map(|()| value))
}
