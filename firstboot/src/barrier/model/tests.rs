//! The scenarios that the model checker explores. Each test prints the number of states.

use super::explore::{Explored, every, some};
use super::*;

const NONE: Faults = Faults {
    wipes: 0,
    crashes: 0,
    exclusions: 0,
    give_ups: 0,
    unexpected_orders: 0,
};

#[track_caller]
fn safe(what: &str, explored: Explored) -> Explored {
    println!(
        "{what}: {} states, {} ends, {} of them with all nodes in one cluster",
        explored.states, explored.ends, explored.whole
    );
    assert_eq!(explored.violation, None, "{what}");
    explored
}

#[test]
fn without_faults_all_nodes_become_members_of_one_cluster() {
    for count in 1..=4 {
        let explored = safe(
            &format!("{count} nodes"),
            every(count, InitialState::Empty, ProbeScope::AtOne, NONE, RULE),
        );
        assert_eq!((explored.ends, explored.whole), (1, 1), "{count} nodes");
    }
}

#[test]
fn a_lost_disk_and_a_restart_at_any_moment_form_no_second_cluster() {
    let faults = Faults {
        wipes: 1,
        crashes: 1,
        ..NONE
    };
    let explored = safe(
        "3 nodes, a wipe and a crash",
        every(3, InitialState::Empty, ProbeScope::AtOne, faults, RULE),
    );
    assert_eq!(
        explored.stuck, 0,
        "a node waits forever although it can reach all others"
    );
}

#[test]
fn excluded_members_that_are_only_slow_form_no_second_quorum() {
    safe(
        "3 nodes, two exclusions",
        every(
            3,
            InitialState::Empty,
            ProbeScope::AtOne,
            Faults {
                exclusions: 2,
                ..NONE
            },
            RULE,
        ),
    );
    let faults = Faults {
        wipes: 1,
        exclusions: 1,
        ..NONE
    };
    safe(
        "3 nodes, a wipe and an exclusion",
        every(3, InitialState::Empty, ProbeScope::AtOne, faults, RULE),
    );
}

#[test]
fn five_nodes_in_random_orders_of_events_form_no_second_cluster() {
    let explored = safe(
        "5 nodes, random orders, events instead of states",
        some(
            5,
            InitialState::Empty,
            400,
            Faults {
                wipes: 2,
                crashes: 2,
                ..NONE
            },
            RULE,
        ),
    );
    assert_eq!(explored.stuck, 0);
    let faults = Faults {
        wipes: 2,
        crashes: 1,
        exclusions: 3,
        ..NONE
    };
    safe(
        "5 nodes, exclusions, random orders, events instead of states",
        some(5, InitialState::Empty, 400, faults, RULE),
    );
}

fn two_lost_disks(scope: ProbeScope) {
    let faults = Faults { wipes: 2, ..NONE };
    safe(
        &format!("3 nodes, two wipes, {scope:?}"),
        every(3, InitialState::Empty, scope, faults, RULE),
    );
}

#[test]
fn two_lost_disks_form_no_second_cluster() {
    two_lost_disks(ProbeScope::AtAll);
}

#[test]
#[ignore = "takes a minute; `make test-all` runs this test"]
fn two_lost_disks_form_no_second_cluster_in_any_order_of_probes() {
    two_lost_disks(ProbeScope::AtOne);
}

fn five_nodes(crashes: u8) {
    let faults = Faults { crashes, ..NONE };
    let what = format!("5 nodes, {crashes} crashes");
    let explored = safe(
        &what,
        every(5, InitialState::Empty, ProbeScope::AtAll, faults, RULE),
    );
    assert_eq!(
        (explored.stuck, explored.whole),
        (0, explored.ends),
        "{what}"
    );
}

#[test]
#[ignore = "takes 20 s; `make test-all` runs this test"]
fn five_nodes_that_probe_all_others_together_form_one_cluster() {
    five_nodes(0);
}

#[test]
#[ignore = "takes a minute; `make test-all` runs this test"]
fn five_nodes_one_of_which_crashes_form_one_cluster() {
    five_nodes(1);
}

#[test]
fn nodes_ordered_to_restore_the_same_snapshot_form_one_cluster() {
    for orders in [&[1][..], &[1, 1], &[1, 1, 1]] {
        let count = orders.len();
        let explored = safe(
            &format!("{count} ordered"),
            every(
                count,
                InitialState::Ordered(orders),
                ProbeScope::AtOne,
                NONE,
                RULE,
            ),
        );
        assert_eq!(
            (explored.ends, explored.whole, explored.restored),
            (1, 1, 1),
            "{count} ordered"
        );
    }
}

#[test]
fn no_member_restores_if_one_has_another_order_or_none() {
    for orders in [[1, 1, 2], [1, 2, 3], [1, 1, 0], [1, 0, 0]] {
        let explored = safe(
            &format!("{orders:?} ordered"),
            every(
                3,
                InitialState::Ordered(&orders),
                ProbeScope::AtOne,
                NONE,
                RULE,
            ),
        );
        assert!(
            explored.ends > 0 && explored.restored == 0,
            "{orders:?}: {explored:?}"
        );
    }
}

#[test]
fn an_abandoned_repeated_or_interrupted_restore_neither_mixes_nor_loses_data() {
    let ordered = InitialState::Ordered(&[1, 1, 1]);
    let explored = safe(
        "3 ordered, two crashes",
        every(
            3,
            ordered,
            ProbeScope::AtAll,
            Faults { crashes: 2, ..NONE },
            RULE,
        ),
    );
    assert_eq!(
        (explored.whole, explored.restored),
        (explored.ends, explored.ends)
    );
    safe(
        "3 ordered, one abandons the order, a crash",
        every(
            3,
            ordered,
            ProbeScope::AtOne,
            Faults {
                give_ups: 1,
                crashes: 1,
                ..NONE
            },
            RULE,
        ),
    );
    let faults = Faults {
        give_ups: 1,
        unexpected_orders: 1,
        ..NONE
    };
    safe(
        "3 ordered, one abandons the order, one ordered again",
        every(3, ordered, ProbeScope::AtAll, faults, RULE),
    );
    let faults = Faults {
        wipes: 1,
        unexpected_orders: 1,
        ..NONE
    };
    safe(
        "3 ordered, one wiped, one ordered again",
        every(3, ordered, ProbeScope::AtAll, faults, RULE),
    );
    let ordered = InitialState::Ordered(&[1, 1, 2, 1, 1]);
    let faults = Faults {
        wipes: 1,
        crashes: 2,
        give_ups: 2,
        unexpected_orders: 3,
        ..NONE
    };
    safe("5 ordered at random", some(5, ordered, 300, faults, RULE));
}

/// A wrong rule: a node with a restore order replaces its data without waiting for the other
/// nodes.
fn restores_alone(local: &LocalState, observations: &PeerObservations) -> Action {
    let step = decide(local, observations);
    match (local.proposals.last(), &step) {
        (Some(proposal), Action::Wait) if !local.mode.is_new() => Action::CarryOut(proposal.id),
        _ => step,
    }
}

#[test]
fn a_wrong_restore_rule_is_detected() {
    let alone = every(
        3,
        InitialState::Ordered(&[1, 1, 1]),
        ProbeScope::AtOne,
        NONE,
        restores_alone,
    );
    assert!(alone.violation.is_some(), "{alone:?}");
}

/// Returns the nonces and phases of the other members, if all have reported them.
fn phases(
    local: &LocalState,
    observations: &PeerObservations,
) -> Option<Vec<(Nonce, BarrierPhase)>> {
    let reported = local.others().map(|name| match &observations[name].state {
        Some(PeerState::Firstboot { nonce, phase, .. }) => Some((*nonce, *phase)),
        _ => None,
    });
    reported.collect()
}

/// A wrong rule: the node starts etcd when all nodes are empty, before all of them have accepted
/// the proposal.
fn starts_when_all_are_empty(local: &LocalState, observations: &PeerObservations) -> Action {
    let (Some(proposal), Some(reported)) = (local.proposals.last(), phases(local, observations))
    else {
        return decide(local, observations);
    };
    let same = local
        .others()
        .zip(&reported)
        .all(|(name, (nonce, _))| proposal.nonces[name] == *nonce);
    if same {
        Action::CarryOut(proposal.id)
    } else {
        decide(local, observations)
    }
}

/// A wrong rule: the node starts etcd once all members have accepted a proposal, even if it is an
/// old proposal.
fn starts_with_stale_nonces(local: &LocalState, observations: &PeerObservations) -> Action {
    let (Some(proposal), Some(reported)) = (local.proposals.last(), phases(local, observations))
    else {
        return decide(local, observations);
    };
    let accepted = reported
        .iter()
        .all(|(_, phase)| *phase != BarrierPhase::NotAccepted);
    if accepted {
        Action::CarryOut(proposal.id)
    } else {
        decide(local, observations)
    }
}

/// A wrong rule: a node that observes a running cluster bootstraps a new cluster with the empty
/// members.
fn overlooks_living_clusters(local: &LocalState, observations: &PeerObservations) -> Action {
    let step = decide(local, observations);
    let (Action::JoinRunningCluster, Some(proposal)) = (&step, local.proposals.last()) else {
        return step;
    };
    Action::CarryOut(proposal.id)
}

#[test]
fn wrong_bootstrap_rules_are_detected() {
    let rules: [(&str, Rule); 3] = [
        ("empty is enough", starts_when_all_are_empty),
        ("stale nonces", starts_with_stale_nonces),
        ("running clusters are overlooked", overlooks_living_clusters),
    ];
    for (what, rule) in rules {
        let explored = every(
            3,
            InitialState::Empty,
            ProbeScope::AtOne,
            Faults { wipes: 1, ..NONE },
            rule,
        );
        println!(
            "{what}: {:?} after {} states",
            explored.violation, explored.states
        );
        assert!(explored.violation.is_some(), "{what} was not detected");
    }
}
