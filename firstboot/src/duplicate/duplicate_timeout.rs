//! Limits the time for which firstboot waits while this node's member seems to run on another
//! machine.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::exit::refused;
use crate::reason::Reason;

/// Measures the time during which this node's member has seemed to run on another machine.
///
/// etcd closes a stream on which nothing has arrived for five seconds (rafthttp's ConnReadTimeout),
/// so connections from before a power cut close soon. A connection that lasts longer belongs to a
/// running machine, so firstboot refuses to continue. If firstboot kept waiting, this machine would
/// take over the member when the other machine reboots.
#[derive(Debug, Default)]
pub(crate) struct DuplicateTimeout(Option<Instant>);

impl DuplicateTimeout {
    const LIMIT: Duration = Duration::from_secs(60);

    /// Records that a duplicate is still suspected.
    ///
    /// # Errors
    /// Returns a refusal once a duplicate has been suspected for a minute.
    pub(crate) fn still_suspected(&mut self, why: &Reason) -> Result<()> {
        let since = *self.0.get_or_insert_with(Instant::now);
        if since.elapsed() < Self::LIMIT {
            return Ok(());
        }
        Err(refused(why.clone().map(|why| {
            format!(
                "{why}. firstboot has suspected this for {} s",
                Self::LIMIT.as_secs()
            )
        })))
    }
}
