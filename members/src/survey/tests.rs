//! Tests the verdict on the cluster's state, and the table of the members.

use super::*;
use crate::documentation::{documented, keys};

#[test]
fn the_documentation_lists_exactly_the_keys_of_a_member() {
    assert_eq!(documented("status.md", "A member"), keys(&Row::default()));
}

fn row(name: &str, healthy: bool) -> Row {
    Row {
        name: name.into(),
        endpoint: format!("https://{name}:2379"),
        healthy,
        leader: name == "a",
        learner: false,
        version: if healthy {
            "3.6.14".into()
        } else {
            String::new()
        },
        db_size: 3 << 19,
        revision: 7,
        raft_term: 2,
        raft_index: 9,
        member: true,
        votes: healthy,
        errors: if healthy {
            vec![]
        } else {
            vec!["connection refused".into()]
        },
        ..Row::default()
    }
}

#[test]
fn the_verdict_counts_the_quorum() {
    assert_eq!(
        verdict(&[row("a", true), row("b", true), row("c", true)]),
        Verdict::Healthy
    );
    assert_eq!(
        verdict(&[row("a", true), row("b", true), row("c", false)]),
        Verdict::Degraded
    );
    assert_eq!(
        verdict(&[row("a", true), row("b", false), row("c", false)]),
        Verdict::NoQuorum
    );
    assert_eq!(verdict(&[row("a", false)]), Verdict::NoQuorum);
    let learner = Row {
        learner: true,
        votes: false,
        ..row("b", true)
    };
    assert_eq!(verdict(&[row("a", true), learner]), Verdict::Degraded);
    let apart = |name| Row {
        apart: true,
        votes: true,
        ..row(name, false)
    };
    assert_eq!(
        verdict(&[row("a", true), row("b", true), apart("c")]),
        Verdict::Degraded
    );
    assert_eq!(
        verdict(&[apart("a"), apart("b")]),
        Verdict::Degraded,
        "they have a quorum, but different data"
    );
    let full = |name| Row {
        healthy: false,
        ..row(name, true)
    };
    assert_eq!(
        verdict(&[full("a"), full("b"), full("c")]),
        Verdict::Degraded,
        "a member with an alarm still votes"
    );
}

#[test]
fn only_members_count_for_the_quorum() {
    let left_out = |name| Row {
        member: false,
        ..row(name, false)
    };
    let three_of_five = [
        row("a", true),
        row("b", true),
        row("c", false),
        left_out("d"),
        left_out("e"),
    ];
    assert_eq!(
        verdict(&three_of_five),
        Verdict::Degraded,
        "two of the three voters are a quorum"
    );
    assert_eq!(verdict(&three_of_five[1..]), Verdict::NoQuorum);
}

#[test]
fn the_table_shows_the_leader_and_unreachable_members() {
    let shown = table(&[row("a", true), row("b", false)]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(
        lines[1].contains("leader") && lines[1].contains("1.5 MiB"),
        "{shown}"
    );
    assert!(
        lines[2].contains("UNHEALTHY") && lines[2].ends_with("connection refused"),
        "{shown}"
    );
}
