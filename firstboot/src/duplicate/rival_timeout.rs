//! The limit for how long a member may seem to run on another machine.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::exit::refused;
use crate::reason::Reason;

/// The time for which this node's member has seemed to run on another machine.
///
/// etcd closes a stream on which nothing arrived for five seconds (rafthttp's ConnReadTimeout), so
/// connections from before a power cut end soon. A connection that lasts belongs to a running
/// machine. firstboot then refuses and no longer waits: the wait would end when that machine
/// reboots, and this one would take its place.
#[derive(Debug, Default)]
pub(crate) struct RivalTimeout(Option<Instant>);

impl RivalTimeout {
    const LIMIT: Duration = Duration::from_secs(60);

    /// Records that a duplicate is still suspected.
    ///
    /// # Errors
    /// Refused when it has been suspected for a minute.
    pub(crate) fn still_suspected(&mut self, why: &Reason) -> Result<()> {
        let since = *self.0.get_or_insert_with(Instant::now);
        if since.elapsed() < Self::LIMIT {
            return Ok(());
        }
        Err(refused(why.clone().map(|why| {
            format!("for {} s now, {why}", Self::LIMIT.as_secs())
        })))
    }
}
