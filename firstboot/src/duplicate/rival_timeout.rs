//! How long a member may seem to be alive on another machine.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::exit::refused;

/// For how long a member seems to be alive elsewhere.
///
/// etcd gives up a stream on which nothing came for five seconds (rafthttp's ConnReadTimeout), so what a power cut left
/// is gone soon. What lasts is a machine. It is refused then, for good, and not waited for any longer: waiting would
/// end at the moment that machine is rebooted, and this one would take its place.
#[derive(Debug, Default)]
pub(crate) struct RivalTimeout(Option<Instant>);

impl RivalTimeout {
    const LONG: Duration = Duration::from_secs(60);

    /// It seems so now.
    ///
    /// # Errors
    /// Refused, when it has seemed so for long.
    pub(crate) fn try_again(&mut self, why: &str) -> Result<()> {
        let since = *self.0.get_or_insert_with(Instant::now);
        if since.elapsed() < Self::LONG {
            return Ok(());
        }
        Err(refused(format!("for {} s now {why}, and then `systemctl restart firstboot`", Self::LONG.as_secs())))
    }
}
