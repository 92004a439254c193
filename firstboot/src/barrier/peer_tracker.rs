//! Tracks for which members a node waits, since when, and what each answered last: a line for the operator and for
//! `systemctl status`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use recipes::Label;
use time::OffsetDateTime;
use time::macros::format_description;

use super::decide::{Action, LocalState, PeerObservation, PeerObservations};
use crate::domain::BootstrapMode;
use crate::membership::{PeerState, Phase, ProbeResult};

/// What is known of one member, and since when.
#[derive(Debug, Clone)]
struct TrackedPeer {
    view: PeerObservation,
    /// When it last answered.
    spoke: Option<SystemTime>,
    /// The result of the last probe.
    now: ProbeResult,
    /// Since when the result is the same.
    since: SystemTime,
}

/// Tracks all other members.
#[derive(Debug, Default)]
pub(crate) struct PeerTracker(BTreeMap<Label, TrackedPeer>);

impl PeerTracker {
    /// Records the result of a probe.
    pub(crate) fn record(&mut self, name: &Label, heard: ProbeResult, at: SystemTime) {
        let before = self.0.remove(name);
        let since = before.as_ref().filter(|before| before.now == heard).map_or(at, |before| before.since);
        let (view, spoke) = match &heard {
            ProbeResult::State(state) => (PeerObservation { state: Some(state.clone()), fresh: true }, Some(at)),
            ProbeResult::Unreachable(_) | ProbeResult::UnexpectedResponder(_) => match before {
                Some(before) => (PeerObservation { fresh: false, ..before.view }, before.spoke),
                None => (PeerObservation::default(), None),
            },
        };
        self.0.insert(name.clone(), TrackedPeer { view, spoke, now: heard, since });
    }

    /// The observations for `decide`.
    pub(crate) fn views(&self) -> PeerObservations {
        self.0.iter().map(|(name, account)| (name.clone(), account.view.clone())).collect()
    }

    /// The clusters of the members on which etcd runs, by their last answer.
    pub(crate) fn live_clusters(&self) -> BTreeSet<u64> {
        let of = |account: &TrackedPeer| match account.now {
            ProbeResult::State(PeerState::Etcd { cluster_id }) => Some(cluster_id),
            _ => None,
        };
        self.0.values().filter_map(of).collect()
    }

    /// Why the node waits. The text is the same as long as nothing has changed.
    pub(crate) fn describe(&self, memory: &LocalState, action: &Action) -> String {
        let mut parts = Vec::new();
        for (name, account) in &self.0 {
            parts.extend(account.describe(name, memory));
        }
        if *action == Action::Alive {
            return format!(
                "this disk is empty, but a cluster lives, or lived when it was last heard of, so this node must not \
                 start as new ({})",
                parts.join("; ")
            );
        }
        if memory.mode.is_new() {
            return format!("waiting until all initial members agree. {}", parts.join("; "));
        }
        format!("told to {}; waiting until all others are. {}", memory.mode, parts.join("; "))
    }

    /// Why this node abandons its order, because of that member.
    pub(crate) fn objection(&self, memory: &LocalState, name: &Label) -> String {
        match self.0.get(name).map(|account| &account.now) {
            Some(ProbeResult::State(PeerState::Firstboot { mode, .. })) => {
                format!("this node was told to {}, and {name} to {mode}. Both give up; tell them the same", memory.mode)
            }
            _ => {
                format!("{name} had agreed to {}, and does not want it any more: its etcd runs as before", memory.mode)
            }
        }
    }
}

impl TrackedPeer {
    fn describe(&self, name: &Label, memory: &LocalState) -> Option<String> {
        let since = clock(self.since);
        let given_up = memory.without.contains(name);
        if !memory.mode.is_new() {
            return self.describe_for_order(name, memory, &since);
        }
        Some(match &self.now {
            // An excluded member matters only if etcd runs there.
            ProbeResult::Unreachable(_) | ProbeResult::UnexpectedResponder(_)
                if given_up && self.view.state.is_none() =>
            {
                return None;
            }
            ProbeResult::Unreachable(why) => {
                format!("{name} does not answer since {since} ({why}; {})", self.last_heard())
            }
            ProbeResult::UnexpectedResponder(why) => {
                format!("{name}'s peer port is answered since {since}, but not as it should be: {why}")
            }
            ProbeResult::State(PeerState::Etcd { cluster_id }) => {
                format!("{name} runs etcd in the cluster {cluster_id:x} since {since}")
            }
            ProbeResult::State(PeerState::Firstboot { .. }) if given_up => {
                format!("{name} waits since {since}, though this node was told to go without it")
            }
            ProbeResult::State(PeerState::Firstboot { mode, .. }) if !mode.is_new() => {
                format!("{name} was told to {mode} since {since}: run `firstboot restore --from {name}` here, too")
            }
            ProbeResult::State(PeerState::Firstboot { without, .. }) if *without != memory.without => {
                let set: Vec<&str> = without.iter().map(Label::as_str).collect();
                let set = if set.is_empty() {
                    "all members of the recipe".into()
                } else {
                    format!("all but {}", set.join(", "))
                };
                format!("{name} waits for {set} since {since}: run `firstboot run --without` the same on each")
            }
            ProbeResult::State(PeerState::Firstboot { phase: Phase::Empty, .. }) => format!("{name} is empty, too"),
            ProbeResult::State(PeerState::Firstboot { .. }) => format!("{name} is ready"),
        })
    }

    /// The same where this node has an order to restore.
    fn describe_for_order(&self, name: &Label, memory: &LocalState, since: &str) -> Option<String> {
        let left_out = memory.without.contains(name);
        Some(match &self.now {
            ProbeResult::State(PeerState::Etcd { cluster_id })
                if memory.mode == BootstrapMode::Rollback { cluster: *cluster_id } =>
            {
                format!("{name} runs etcd in that cluster")
            }
            ProbeResult::State(PeerState::Etcd { .. }) if left_out => {
                format!("{name} was left out, but runs etcd: stop it, or tell it, too")
            }
            _ if left_out => return None,
            ProbeResult::State(PeerState::Etcd { cluster_id }) => {
                format!("{name} runs etcd in the cluster {cluster_id:x} and was not told yet")
            }
            ProbeResult::Unreachable(why) => {
                format!("{name} does not answer since {since} ({why}; {})", self.last_heard())
            }
            ProbeResult::UnexpectedResponder(why) => {
                format!("{name}'s peer port is answered since {since}, but not as it should be: {why}")
            }
            ProbeResult::State(PeerState::Firstboot { mode: BootstrapMode::New, .. }) => format!(
                "{name} has no data and was not told yet{}",
                match memory.mode {
                    BootstrapMode::Restore { .. } => format!(": run `firstboot restore --from {}` there", memory.name),
                    _ => String::new(),
                }
            ),
            ProbeResult::State(PeerState::Firstboot { mode, .. }) if memory.mode.with(*mode).is_none() => {
                format!("{name} was told to {mode} since {since}")
            }
            ProbeResult::State(PeerState::Firstboot { without, .. }) if *without != memory.without => {
                format!("{name} was told another --without since {since}: tell all the same")
            }
            ProbeResult::State(PeerState::Firstboot { phase: Phase::Empty, .. }) => format!("{name} was told, too"),
            ProbeResult::State(PeerState::Firstboot { .. }) => format!("{name} is ready"),
        })
    }

    fn last_heard(&self) -> String {
        let what = match &self.view.state {
            None => return "never heard from".to_owned(),
            Some(PeerState::Etcd { cluster_id }) => format!("as etcd in the cluster {cluster_id:x}"),
            Some(PeerState::Firstboot { phase: Phase::Empty, .. }) => "as empty".to_owned(),
            Some(PeerState::Firstboot { .. }) => "as ready".to_owned(),
        };
        let at = self.spoke.map(clock).unwrap_or_default();
        format!("last heard from at {at}, {what}")
    }
}

fn clock(time: SystemTime) -> String {
    let format = format_description!("[hour]:[minute]:[second] UTC");
    OffsetDateTime::from(time).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::domain::DiskId;

    fn label(name: &str) -> Label {
        name.parse().unwrap()
    }

    fn memory(without: &[&str]) -> LocalState {
        let without: BTreeSet<Label> = without.iter().map(|name| label(name)).collect();
        let initial = &BTreeSet::from(["a", "b", "c"].map(label)) - &without;
        LocalState {
            name: label("a"),
            initial,
            without,
            disk_id: DiskId::of(1),
            epochs: vec![],
            mode: BootstrapMode::New,
        }
    }

    fn empty(without: &[&str]) -> ProbeResult {
        let without = without.iter().map(|name| label(name)).collect();
        ProbeResult::State(PeerState::Firstboot {
            disk_id: DiskId::of(2),
            phase: Phase::Empty,
            without,
            mode: BootstrapMode::New,
        })
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn it_says_for_whom_since_when_and_what_was_heard() {
        let mut tracker = PeerTracker::default();
        let silence = || ProbeResult::Unreachable("connection refused".into());
        tracker.record(&label("b"), empty(&[]), at(60));
        tracker.record(&label("b"), silence(), at(61));
        tracker.record(&label("c"), silence(), at(61));
        let text = tracker.describe(&memory(&[]), &Action::Wait);
        assert_eq!(
            text,
            "waiting until all initial members agree. b does not answer since 00:01:01 UTC (connection refused; last \
             heard from at 00:01:00 UTC, as empty); c does not answer since 00:01:01 UTC (connection refused; never \
             heard from)"
        );
        tracker.record(&label("c"), silence(), at(99));
        assert_eq!(tracker.describe(&memory(&[]), &Action::Wait), text, "the same is not told twice");
        assert!(!tracker.views()[&label("b")].fresh);
    }

    #[test]
    fn different_sets_strangers_and_living_clusters_are_named() {
        let mut tracker = PeerTracker::default();
        tracker.record(&label("b"), empty(&["c"]), at(0));
        tracker.record(&label("c"), ProbeResult::UnexpectedResponder("it speaks HTTP".into()), at(0));
        let text = tracker.describe(&memory(&[]), &Action::Wait);
        assert!(text.contains("b waits for all but c") && text.contains("not as it should be: it speaks"), "{text}");
        assert!(!tracker.describe(&memory(&["c"]), &Action::Wait).contains("HTTP"), "nobody waits for c");
        tracker.record(&label("c"), ProbeResult::State(PeerState::Etcd { cluster_id: 0xab }), at(0));
        let text = tracker.describe(&memory(&["c"]), &Action::Alive);
        assert!(text.contains("must not start as new") && text.contains("c runs etcd in the cluster ab"), "{text}");
    }
}
