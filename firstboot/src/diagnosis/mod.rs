//! What keeps etcd on this node from being a healthy member, as far as this machine shows it: how its unit is, what etcd
//! said last, and from which address it reaches the other members.

mod last_words;
mod source;
mod unit;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use recipes::{ClusterDocument, Label};

use last_words::{Entry, LastWords, Search};
use unit::{UNIT, Unit};

use crate::identity::Identity;
use crate::output::say;
use crate::systemd;
pub(crate) use source::wrong_source;

/// Between two looks while firstboot waits.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// What firstboot tells while it waits for etcd: each reason once, when it is new.
#[derive(Debug)]
pub(crate) struct Watch {
    looked: Instant,
    told: Option<String>,
}

impl Watch {
    /// It looks for the first time after a while: most etcds have no trouble.
    pub(crate) fn new() -> Self {
        Self { looked: Instant::now(), told: None }
    }

    /// Looks again if it is time to, and says what is new: the reason, or `otherwise` where there is none any more.
    pub(crate) fn look(&mut self, identity: &Identity, otherwise: &str) {
        if self.looked.elapsed() < BETWEEN_LOOKS {
            return;
        }
        let found = node(&identity.cluster, &identity.node.name);
        if !is_repeated(self.told.as_deref(), found.as_deref()) {
            say(found.as_deref().unwrap_or(otherwise));
        }
        (self.told, self.looked) = (found, Instant::now());
    }

    /// The newest reason, as a sentence; empty where there is none.
    pub(crate) fn reason(&self) -> String {
        self.told.as_ref().map_or_else(String::new, |told| format!("{told}. "))
    }
}

/// Whether a reason is the one before. systemd starts etcd again every few seconds, and each time etcd ends for the same reason at
/// another time, with other numbers.
fn is_repeated(before: Option<&str>, now: Option<&str>) -> bool {
    let words =
        |reason: &str| reason.replace(unit::AGAIN, "").replace(|character: char| character.is_ascii_digit(), "");
    before.map(words) == now.map(words)
}

/// What keeps this node from being a healthy member; `None` where this machine shows nothing.
pub(crate) fn node(cluster: &ClusterDocument, name: &Label) -> Option<String> {
    let parts: Vec<String> = etcd().into_iter().chain(wrong_source(cluster, name)).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Why etcd does not run, or what else is special about its unit; `None` where nothing is. It is asked where etcd is not healthy.
fn etcd() -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    // What cannot be found out is left out: it is more about an error that is told anyway.
    let unit = Unit::show().ok()?;
    unit.diagnose(said(&unit).as_ref(), now)
}

/// What the processes of etcd that have ended said last.
fn said(unit: &Unit) -> Option<LastWords> {
    let mut search = Search::default();
    let read = systemd::journal(UNIT, |line| match Entry::parse(line) {
        Some(entry) if Some(entry.pid) != unit.running => search.take(&entry),
        _ => true,
    });
    read.ok().and_then(|()| search.found())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_end_at_another_time_is_told_once() {
        let ended = |clock: &str, why: &str| format!("etcd ended at {clock} UTC: {why} [etcd-ended]");
        let first = ended("11:43:03", "cannot write: No space left on device");
        assert!(is_repeated(Some(&first), Some(&ended("11:43:08", "cannot write: No space left on device"))));
        let again = first.replace(" UTC:", " UTC, and was started again:");
        assert!(is_repeated(Some(&first), Some(&again)) && is_repeated(Some(&again), Some(&first)));
        assert!(!is_repeated(Some(&first), Some(&ended("11:43:08", "walpb: crc mismatch"))));
        assert!(!is_repeated(None, Some(&first)) && !is_repeated(Some(&first), None) && is_repeated(None, None));
    }
}
