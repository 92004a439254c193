//! Finds out on this machine why etcd is not a healthy member: from the state of its unit, from etcd's last log line, and from
//! the source address with which this node reaches the other members.

mod last_words;
mod source;
mod unit;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use recipes::{ClusterDocument, Label};

use last_words::{Entry, LastWords, Search};
use unit::{UNIT, Unit};

use crate::identity::Identity;
use crate::output::say;
use crate::reason::Reason;
use crate::systemd;
pub(crate) use source::wrong_source;

/// The pause between two diagnoses while firstboot waits.
const INTERVAL: Duration = Duration::from_secs(2);

/// Logs the reason while firstboot waits for etcd, once for each change.
#[derive(Debug)]
pub(crate) struct Watch {
    looked: Instant,
    logged: Option<String>,
}

impl Watch {
    /// Starts the interval until the first diagnosis: most starts of etcd succeed within it.
    pub(crate) fn new() -> Self {
        Self { looked: Instant::now(), logged: None }
    }

    /// Diagnoses again after the interval. Logs a changed reason, or `otherwise` if there is no reason any more.
    pub(crate) fn look(&mut self, identity: &Identity, otherwise: &str) {
        if self.looked.elapsed() < INTERVAL {
            return;
        }
        let found = text(&node(&identity.cluster, &identity.node.name));
        if found != self.logged {
            say(found.as_deref().unwrap_or(otherwise));
        }
        (self.logged, self.looked) = (found, Instant::now());
    }

    /// The newest reason, as a sentence, empty if there is none.
    pub(crate) fn reason(&self) -> String {
        self.logged.as_ref().map_or_else(String::new, |reason| format!("{reason}. "))
    }
}

/// All reasons why this node is not a healthy member, as far as this machine shows them.
pub(crate) fn node(cluster: &ClusterDocument, name: &Label) -> Vec<Reason> {
    etcd().into_iter().chain(wrong_source(cluster, name)).collect()
}

fn text(reasons: &[Reason]) -> Option<String> {
    let parts: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Why etcd does not run, and what else is unusual about its unit.
fn etcd() -> Vec<Reason> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    // The diagnosis only adds detail to another error, so its own failures are ignored.
    let Ok(unit) = Unit::show() else { return Vec::new() };
    unit.diagnose(said(&unit).as_ref(), now)
}

/// The last log line of the etcd processes that have ended.
fn said(unit: &Unit) -> Option<LastWords> {
    let mut search = Search::default();
    let read = systemd::journal(UNIT, |line| match Entry::parse(line) {
        Some(entry) if Some(entry.pid) != unit.running => search.take(&entry),
        _ => true,
    });
    read.ok().and_then(|()| search.found())
}
