//! How long a member may seem to be alive on another machine.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::exit::refused;

/// How long this node's member has seemed to run on another machine.
///
/// etcd closes a stream on which nothing arrived for five seconds (rafthttp's ConnReadTimeout), so connections from
/// before a power cut end soon. A connection that lasts belongs to a running machine. firstboot then refuses and no
/// longer waits: the wait would end when that machine reboots, and this one would take its place.
#[derive(Debug, Default)]
pub(crate) struct RivalTimeout(Option<Instant>);

impl RivalTimeout {
    const LONG: Duration = Duration::from_secs(60);

    /// Records that it still seems so.
    ///
    /// # Errors
    /// Refused when it has seemed so for a minute.
    pub(crate) fn try_again(&mut self, why: &str) -> Result<()> {
        let since = *self.0.get_or_insert_with(Instant::now);
        if since.elapsed() < Self::LONG {
            return Ok(());
        }
        Err(refused(format!("for {} s now {why}, and then `systemctl restart firstboot`", Self::LONG.as_secs())))
    }
}
