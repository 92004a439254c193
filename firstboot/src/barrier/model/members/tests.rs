//! The scenarios that the model checker for members with lost data explores.

use super::explore::{Explored, every, some};
use super::*;

const ONE: Budget = Budget {
    writes: 2,
    losses: 1,
    copies: 1,
    kills: 1,
    offs: 1,
};

fn safe(what: &str, explored: &Explored) {
    println!(
        "{what}: {} states, a member rebuilt in {}",
        explored.states, explored.rebuilt
    );
    assert_eq!(explored.violation, None, "{what}");
    assert!(explored.rebuilt > 0, "{what}: no member was ever rebuilt");
}

#[test]
fn three_members_lose_no_write_when_data_is_lost_at_any_moment() {
    safe("3 members, one loss", &every(3, ONE, START_RULE));
    let two = Budget {
        writes: 2,
        losses: 2,
        copies: 0,
        kills: 2,
        offs: 1,
    };
    safe("3 members, two losses", &every(3, two, START_RULE));
}

#[test]
fn five_members_lose_no_write_when_data_is_lost_at_any_moment() {
    let left = Budget {
        writes: 4,
        losses: 3,
        copies: 2,
        kills: 4,
        offs: 4,
    };
    safe(
        "5 members, random orders (the number counts events, not distinct states)",
        &some(5, 3000, left, START_RULE),
    );
}

/// A wrong rule: etcd starts on any data, as with a unit that has no guard.
fn anything(_: &RecordedData, _: &DataDirState) -> bool {
    true
}

/// A wrong rule: etcd starts if the log contains the right ids, whichever directory contains the
/// log.
fn by_the_ids(expected: &RecordedData, seen: &DataDirState) -> bool {
    let own = expected.identity.map(|known| (known.member, known.cluster));
    seen.wal
        .as_ref()
        .is_ok_and(|log| Some((log.member, log.cluster)) == own)
}

#[test]
fn a_start_rule_that_permits_too_much_is_detected() {
    // The scenario of etcd-io/etcd#10817: a member loses its data and is killed, and then forms a
    // quorum with a member that was switched off.
    let left = Budget {
        writes: 1,
        losses: 1,
        copies: 0,
        kills: 1,
        offs: 1,
    };
    let anything = every(3, left, anything);
    println!(
        "no guard: {:?} after {} states",
        anything.violation, anything.states
    );
    assert!(anything.violation.is_some());
    let left = Budget { copies: 1, ..left };
    let by_the_ids = every(3, left, by_the_ids);
    println!(
        "ids alone: {:?} after {} states",
        by_the_ids.violation, by_the_ids.states
    );
    assert!(by_the_ids.violation.is_some());
    assert_eq!(every(3, left, START_RULE).violation, None);
}
