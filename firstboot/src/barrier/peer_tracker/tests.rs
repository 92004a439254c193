//! Tests the messages about members that do not answer, or that wait for other members.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::domain::Nonce;

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn local(without: &[&str]) -> LocalState {
    let without: BTreeSet<Label> = without.iter().map(|name| label(name)).collect();
    let initial = &BTreeSet::from(["a", "b", "c"].map(label)) - &without;
    LocalState {
        name: label("a"),
        initial,
        without,
        nonce: Nonce::of(1),
        only_joins: false,
        proposals: vec![],
        mode: BootstrapMode::New,
    }
}

fn empty(without: &[&str]) -> ProbeResult {
    let without = without.iter().map(|name| label(name)).collect();
    ProbeResult::State(PeerState::Firstboot {
        nonce: Nonce::of(2),
        phase: BarrierPhase::NotAccepted,
        without,
        mode: BootstrapMode::New,
    })
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn the_message_names_each_missing_member_and_its_last_answer() {
    let mut tracker = PeerTracker::default();
    let silence = || ProbeResult::Unreachable("connection refused".into());
    tracker.record(&label("b"), empty(&[]), at(60));
    tracker.record(&label("b"), silence(), at(61));
    tracker.record(&label("c"), silence(), at(61));
    let reason = tracker.describe(&local(&[]), &Action::Wait);
    assert_eq!(
        reason.to_string(),
        "waiting until all initial members agree: b has not answered since 00:01:01 UTC \
         (connection refused; it last answered at 00:01:00 UTC, with an empty disk); c has not \
         answered since 00:01:01 UTC (connection refused; it never answered) \
         [members-not-ready]"
    );
    tracker.record(&label("c"), silence(), at(99));
    assert_eq!(
        tracker.describe(&local(&[]), &Action::Wait),
        reason,
        "an unchanged state gives the same message"
    );
    assert!(!tracker.observations()[&label("b")].answered_last_probe);
}

#[test]
fn the_last_answer_of_a_member_with_an_order_names_the_order() {
    let rollback = BootstrapMode::Rollback { cluster: 7 };
    let ordered = ProbeResult::State(PeerState::Firstboot {
        nonce: Nonce::of(2),
        phase: BarrierPhase::NotAccepted,
        without: BTreeSet::new(),
        mode: rollback,
    });
    let mut tracker = PeerTracker::default();
    tracker.record(&label("b"), ordered, at(60));
    let silence = ProbeResult::Unreachable("connection refused".into());
    tracker.record(&label("b"), silence, at(61));
    for mode in [BootstrapMode::New, rollback] {
        let own = LocalState { mode, ..local(&[]) };
        let reason = tracker.describe(&own, &Action::Wait).to_string();
        let last = format!("it last answered at 00:01:00 UTC, with an order to {rollback}");
        assert!(reason.contains(&last), "{reason}");
    }
}

#[test]
fn a_machine_that_is_off_has_one_message_although_its_errors_differ() {
    let mut tracker = PeerTracker::default();
    let mut said = Vec::new();
    for (second, why) in [
        NO_ANSWER,
        NO_ROUTE,
        NO_ANSWER,
        NO_ROUTE,
        "connection refused",
    ]
    .into_iter()
    .enumerate()
    {
        let silence = ProbeResult::Unreachable(why.to_owned());
        tracker.record(&label("b"), silence, at(second as u64));
        said.push(tracker.describe(&local(&[]), &Action::Wait).text);
    }
    said.dedup();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().all(|text| text.contains("since 00:00:00 UTC")));
    for (text, why) in said.iter().zip([NO_ANSWER, NO_ROUTE, "connection refused"]) {
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn the_message_names_other_sets_unexpected_programs_and_running_clusters() {
    let mut tracker = PeerTracker::default();
    tracker.record(&label("b"), empty(&["c"]), at(0));
    tracker.record(
        &label("c"),
        ProbeResult::UnexpectedResponder("it speaks HTTP".into()),
        at(0),
    );
    let text = tracker.describe(&local(&[]), &Action::Wait).text;
    assert!(
        text.contains("b has waited for all but c") && text.contains("00:00:00 UTC: it speaks"),
        "{text}"
    );
    let excluded = tracker.describe(&local(&["c"]), &Action::Wait).text;
    assert!(
        !excluded.contains("HTTP"),
        "this node does not wait for c: {excluded}"
    );
    tracker.record(
        &label("c"),
        ProbeResult::State(PeerState::Etcd { cluster_id: 0xab }),
        at(0),
    );
    let reason = tracker.describe(&local(&["c"]), &Action::JoinRunningCluster);
    assert!(
        reason.text.contains("does not bootstrap a")
            && reason.text.contains("c has run etcd in the cluster ab")
    );
}
