//! Records why this node could not renew its certificates, and when it tries again. A successful
//! attempt removes the record.

use std::path::Path;

use anyhow::Result;
use members::timestamp::rfc3339;
use serde::{Deserialize, Serialize};

use crate::files::{self, DesiredFile};
use crate::paths;
use crate::reason::Reason;

/// The pause after the first failure, in seconds. The pause doubles with each further failure.
const MIN_PAUSE: u64 = 5;
/// The longest pause, in seconds.
const MAX_PAUSE: u64 = 86_400;
/// The maximum pause is the certificates' remaining lifetime divided by this number, but not less
/// than [`MIN_PAUSE`]. Therefore, the attempts become more frequent as the expiry approaches.
const PAUSES_PER_LIFETIME: u64 = 10;

/// The failures since the last success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RenewalFailure {
    /// The time of the first failure, in seconds since 1970.
    since: u64,
    attempts: u32,
    /// The time before which the node does not try again.
    next: u64,
    /// The reason for the last failure, with its id.
    why: String,
}

impl RenewalFailure {
    /// Reads the record. A damaged file counts as missing, because the next attempt writes the file
    /// again.
    pub(crate) fn read() -> Result<Option<Self>> {
        let bytes = files::read_if_there(paths::RENEWAL)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Returns whether it is too early for another attempt. The certificates expire at `until`. If
    /// the time from `now` until `next` is longer than a whole pause, the clock was probably set
    /// back, and the node does not wait.
    pub(super) fn waits(&self, now: u64, until: u64) -> bool {
        now < self.next && self.next - now <= pause(self.attempts, now, until)
    }

    /// Returns the record after another failure. The certificates expire at `until`.
    pub(super) fn after(before: Option<&Self>, now: u64, until: u64, why: &Reason) -> Self {
        let attempts = before.map_or(1, |before| before.attempts.saturating_add(1));
        Self {
            since: before.map_or(now, |before| before.since),
            attempts,
            next: now.saturating_add(pause(attempts, now, until)),
            why: why.to_string(),
        }
    }

    pub(super) fn write(&self) -> Result<()> {
        let text = serde_json::to_vec(self)?;
        DesiredFile::new(paths::RENEWAL, text)
            .mode(0o600, files::ROOT)
            .write()
    }

    /// Removes the record after a success.
    pub(super) fn clear() -> Result<()> {
        let path = Path::new(paths::RENEWAL);
        if files::exists(path)? {
            files::remove(path)?;
        }
        Ok(())
    }

    /// Returns the line for `firstboot status`.
    pub(crate) fn line(&self) -> String {
        let (since, next) = (rfc3339(self.since), rfc3339(self.next));
        let times = if self.attempts == 1 { "time" } else { "times" };
        format!(
            "renewal: failed {} {times} since {since}, next attempt at {next}: {}\n",
            self.attempts, self.why
        )
    }
}

/// Returns the pause after this number of failures, in seconds.
fn pause(attempts: u32, now: u64, until: u64) -> u64 {
    let doubled = MIN_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    let most = (until.saturating_sub(now) / PAUSES_PER_LIFETIME).clamp(MIN_PAUSE, MAX_PAUSE);
    doubled.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::ReasonId;

    #[test]
    fn pauses_double_and_become_short_before_the_expiry() {
        let why = ReasonId::RenewalFailed.because("no answer");
        let mut state: Option<RenewalFailure> = None;
        let (mut now, until, mut pauses) = (1000, 1000 + 3600, Vec::new());
        while now < until {
            let next = RenewalFailure::after(state.as_ref(), now, until, &why);
            assert!((now..next.next).all(|now| next.waits(now, until)));
            assert!(!next.waits(next.next, until));
            pauses.push(next.next - now);
            now = next.next;
            state = Some(next);
        }
        assert_eq!(pauses[..7], [5, 10, 20, 40, 80, 160, 320]);
        assert!(pauses.iter().all(|pause| (5..=360).contains(pause)));
        assert_eq!(pauses.last(), Some(&5));
        let line = state.unwrap().line();
        assert!(line.contains("since 1970-01-01T00:16:40Z"), "{line}");
        assert!(line.ends_with("no answer [renewal-failed]\n"), "{line}");
    }

    #[test]
    fn pauses_have_a_limit_and_end_after_the_clock_was_set_back() {
        let why = Reason::from("x");
        let before = RenewalFailure {
            since: 1,
            attempts: u32::MAX,
            next: 2,
            why: String::new(),
        };
        let next = RenewalFailure::after(Some(&before), 1000, u64::MAX, &why);
        assert_eq!(next.next, 1000 + MAX_PAUSE);
        assert!(next.waits(1000, u64::MAX) && !next.waits(0, u64::MAX));
    }

    #[test]
    fn an_attempt_with_a_clock_that_was_ahead_delays_no_later_attempt() {
        let why = Reason::from("no answer");
        // The clock is two hours ahead, so the certificates, which are valid for ten minutes, seem
        // to have expired.
        let (now, until) = (10_000, 10_600);
        let early = RenewalFailure::after(None, now + 7200, until, &why);
        assert!(early.waits(now + 7200, until) && !early.waits(now, until));
        // After 12 failures, the node waits for two hours if the certificates expire in a month.
        let late = RenewalFailure {
            attempts: 12,
            next: now + 7200,
            ..early
        };
        assert!(!late.waits(now, until) && late.waits(now, now + 86_400 * 30));
    }
}
