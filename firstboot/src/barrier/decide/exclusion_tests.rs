//! Tests the restore orders that exclude members.

use super::*;

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn restore(number: u8) -> BootstrapMode {
    BootstrapMode::Restore {
        snapshot: Sha256::of(&[number]),
        seen: Some(1),
    }
}

/// Returns the state of the node `a`, which has this order and excludes all other members.
fn alone(mode: BootstrapMode) -> LocalState {
    LocalState {
        name: label("a"),
        initial: BTreeSet::from([label("a")]),
        without: BTreeSet::from(["b", "c"].map(label)),
        nonce: Nonce::of(1),
        only_joins: false,
        proposals: vec![],
        mode,
    }
}

/// Returns the observations of a machine `b`, which has this order and excludes all other members,
/// and of a machine `c` that is off.
fn observations(mode: BootstrapMode, answered_last_probe: bool) -> PeerObservations {
    let state = PeerState::Firstboot {
        nonce: Nonce::of(2),
        phase: BarrierPhase::NotAccepted,
        without: BTreeSet::from(["a", "c"].map(label)),
        mode,
    };
    let b = PeerObservation {
        state: Some(state),
        answered_last_probe,
    };
    PeerObservations::from([(label("b"), b), (label("c"), PeerObservation::default())])
}

#[test]
fn two_operators_who_restore_two_machines_alone_start_no_two_clusters() {
    let accepts =
        |own, excluded, answered| match decide(&alone(own), &observations(excluded, answered)) {
            Action::AcceptProposal(..) => true,
            Action::Wait => false,
            action => panic!("{action:?}"),
        };
    let back = |cluster| BootstrapMode::Rollback { cluster };
    for (own, excluded) in [
        (restore(1), restore(1)),
        (restore(1), restore(2)),
        (restore(1), back(3)),
        (back(3), restore(1)),
        (back(3), back(4)),
    ] {
        assert!(!accepts(own, excluded, true), "{own} and {excluded}");
        assert!(
            accepts(own, excluded, false),
            "the node waits for an excluded machine that is off: {own} and {excluded}"
        );
    }
    assert!(
        accepts(back(3), back(3), true),
        "the node waits, although both machines roll back to the same cluster"
    );
    assert!(
        accepts(restore(1), BootstrapMode::New, true),
        "the node waits, although the excluded machine has no order"
    );
}
