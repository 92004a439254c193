//! Tests the messages about members that do not answer, or that wait for other members.

use std::time::{Duration, UNIX_EPOCH};

use recipes::Sha256;

use super::*;
use crate::barrier::Proposal;
use crate::domain::{Nonce, Nonces};

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

fn proposal(byte: u8, mode: BootstrapMode) -> Proposal {
    Proposal {
        id: Sha256::new([byte; 32]),
        nonces: Nonces::new(),
        mode,
        token: String::new(),
        cluster_id: byte.into(),
    }
}

/// A recipe grew after some nodes had been installed, so the nodes' images list different members.
#[test]
fn members_that_are_ready_for_different_clusters_are_named() {
    let mode = BootstrapMode::New;
    let own = LocalState {
        proposals: vec![proposal(1, mode)],
        ..local(&[])
    };
    let mut tracker = PeerTracker::default();
    for (name, byte) in [("b", 1), ("c", 2)] {
        let ready = ProbeResult::State(PeerState::Firstboot {
            nonce: Nonce::of(2),
            phase: BarrierPhase::Accepted {
                proposal: proposal(byte, mode).id,
            },
            without: BTreeSet::new(),
            mode,
        });
        tracker.record(&label(name), ready, at(0));
    }
    let text = tracker.describe(&own, &Action::Wait).text;
    assert!(
        text.contains("b is ready; c is ready, but not for the same cluster"),
        "{text}"
    );
    let text = tracker.describe(&local(&[]), &Action::Wait).text;
    assert!(text.ends_with("b is ready; c is ready"), "{text}");
}

#[test]
fn a_member_that_completed_its_restore_did_not_abandon_it() {
    let own = LocalState {
        mode: BootstrapMode::Rollback { cluster: 7 },
        ..local(&[])
    };
    let mut tracker = PeerTracker::default();
    let runs = ProbeResult::State(PeerState::Etcd { cluster_id: 0xab });
    tracker.record(&label("b"), runs, at(0));
    let why = |cluster| tracker.abandon_reason(&own, &label("b"), cluster).text;
    assert!(why(Some(0xcd)).contains("reinstall this node"));
    for cluster in [Some(0xab), None] {
        assert!(why(cluster).contains("b abandoned its order"));
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
