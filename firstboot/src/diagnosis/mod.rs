//! Determines why etcd on this machine is not a healthy member. The evidence is the state of etcd's
//! unit, etcd's last log line, and the source address with which this node reaches the other
//! members.

mod exit_log;
mod source;
mod unit;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use recipes::{ClusterDocument, Label};

use exit_log::{Entry, ExitLog, Search};
use unit::Unit;

use crate::identity::Identity;
use crate::output::say;
use crate::reason::Reason;
use crate::systemd;
use crate::systemd::ETCD_UNIT;
pub(crate) use source::wrong_source;

/// The pause between two diagnoses while firstboot waits.
const INTERVAL: Duration = Duration::from_secs(2);

/// Logs why etcd is not healthy while firstboot is waiting for etcd. firstboot logs a reason again
/// only when the reason changes.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    looked: Instant,
    logged: Option<String>,
}

impl Diagnosis {
    /// Starts the interval before the first diagnosis. Most starts of etcd succeed within this
    /// interval.
    pub(crate) fn new() -> Self {
        Self {
            looked: Instant::now(),
            logged: None,
        }
    }

    /// Diagnoses etcd again if the interval is over. Logs a changed reason, or `otherwise` if no
    /// reason remains.
    pub(crate) fn refresh(&mut self, identity: &Identity, otherwise: &str) {
        if self.looked.elapsed() < INTERVAL {
            return;
        }
        let found = text(&node(&identity.cluster, &identity.node.name));
        if !is_repeated(self.logged.as_deref(), found.as_deref()) {
            say(found.as_deref().unwrap_or(otherwise));
        }
        (self.logged, self.looked) = (found, Instant::now());
    }

    /// Returns the newest reason as a sentence, or an empty string if there is none.
    pub(crate) fn reason(&self) -> String {
        self.logged
            .as_ref()
            .map_or_else(String::new, |reason| format!("{reason}. "))
    }
}

/// Returns whether a reason equals the previous reason, except for times, numbers, and the note
/// that etcd was restarted. If systemd restarts etcd every few seconds, etcd may exit for the same
/// reason each time, but with a different time and different numbers.
fn is_repeated(before: Option<&str>, now: Option<&str>) -> bool {
    let words = |reason: &str| {
        reason
            .replace(unit::AGAIN, "")
            .replace(|character: char| character.is_ascii_digit(), "")
    };
    before.map(words) == now.map(words)
}

/// Returns the reasons why this node is not a healthy member, as far as firstboot can detect them
/// on this machine.
pub(crate) fn node(cluster: &ClusterDocument, name: &Label) -> Vec<Reason> {
    etcd()
        .into_iter()
        .chain(wrong_source(cluster, name))
        .collect()
}

/// Joins the reasons on one line. Returns `None` if there are no reasons.
pub(crate) fn text(reasons: &[Reason]) -> Option<String> {
    let parts: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Returns the reason why etcd is not running, and other problems of etcd's unit.
fn etcd() -> Vec<Reason> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    // The diagnosis only adds detail to another error, so failures of the diagnosis are ignored.
    let Ok(unit) = Unit::show() else {
        return Vec::new();
    };
    unit.diagnose(last_words(&unit).as_ref(), now)
}

/// Returns the most informative log line of the etcd processes that have exited.
fn last_words(unit: &Unit) -> Option<ExitLog> {
    let mut search = Search::default();
    let read = systemd::journal(ETCD_UNIT, |line| match Entry::parse(line) {
        Some(entry) if Some(entry.pid) != unit.running => search.take(&entry),
        _ => true,
    });
    read.ok().and_then(|()| search.found())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_exit_at_another_time_is_logged_once() {
        let ended =
            |clock: &str, why: &str| format!("etcd exited at {clock} UTC: {why} [etcd-ended]");
        let first = ended("11:43:03", "cannot write: No space left on device");
        assert!(is_repeated(
            Some(&first),
            Some(&ended("11:43:08", "cannot write: No space left on device"))
        ));
        let again = first.replace(" UTC:", &format!(" UTC{}:", unit::AGAIN));
        assert!(is_repeated(Some(&first), Some(&again)) && is_repeated(Some(&again), Some(&first)));
        assert!(!is_repeated(
            Some(&first),
            Some(&ended("11:43:08", "walpb: crc mismatch"))
        ));
        assert!(
            !is_repeated(None, Some(&first))
                && !is_repeated(Some(&first), None)
                && is_repeated(None, None)
        );
    }
}
