//! Tests wrong rules, each of which the model checker must detect.

use super::explore::every;
use super::faults::NONE;
use super::*;
use members::keys::NEWEST_RELEASE;

/// Returns a wrong transaction, which takes the turn without comparing these keys.
fn without(update_keys: &UpdateKeys, turn: &UpdateTurn, keys: &[&str]) -> Transaction {
    let mut transaction = update_keys.take_transaction(turn).unwrap();
    transaction
        .seen
        .retain(|(seen, _)| !keys.contains(&seen.as_str()));
    transaction
}

/// A wrong rule: its description, the rules that contain it, the number of nodes, and the faults.
/// With these nodes and faults, the wrong rule violates a requirement.
type Case = (&'static str, Rules, usize, Budget);

/// Returns the wrong rules for the turn.
fn turns() -> Vec<Case> {
    vec![
        (
            "the turn is neither compared nor checked again",
            Rules {
                take_transaction: |update_keys, turn| {
                    without(update_keys, turn, &[TURN, NEWEST_RELEASE])
                },
                checks_again: false,
                ..RULES
            },
            3,
            NONE,
        ),
        (
            "the restart lock is neither compared nor checked again",
            Rules {
                take_transaction: |update_keys, turn| without(update_keys, turn, &[RESTART]),
                checks_again: false,
                ..RULES
            },
            3,
            Budget {
                documents: 1,
                ..NONE
            },
        ),
        (
            "no second check",
            Rules {
                checks_again: false,
                ..RULES
            },
            3,
            Budget { power: 1, ..NONE },
        ),
    ]
}

/// Returns the wrong rules for a node that continues after an interruption.
fn continuations() -> Vec<Case> {
    vec![
        (
            "the previous image is restored although the new image passed its health check",
            Rules {
                resumption: |phase, boots, same_boot, _| resumption(phase, boots, same_boot, false),
                ..RULES
            },
            1,
            Budget { power: 2, ..NONE },
        ),
        (
            "a member restores the previous image while the cluster needs the member",
            Rules {
                waits_to_revert: false,
                ..RULES
            },
            3,
            Budget {
                power: 1,
                timeouts: 1,
                ..NONE
            },
        ),
        (
            "a rebuilt node looks for its order before it reads the turn",
            Rules {
                reads_turn_first: false,
                ..RULES
            },
            3,
            Budget { power: 1, ..NONE },
        ),
        (
            "a node that was not installed again leaves its request at the server",
            Rules {
                withdraws: false,
                ..RULES
            },
            1,
            Budget { missed: 1, ..NONE },
        ),
    ]
}

#[test]
fn wrong_update_rules_are_detected() {
    let cases = turns().into_iter().chain(continuations());
    for (what, rules, nodes, left) in cases {
        let scenario = Scenario {
            nodes,
            images: &[Image::Good, Image::Good],
            reboots: false,
            reinstalls: !rules.withdraws,
            left,
        };
        let explored = every(scenario, rules);
        let violation = explored.violation.unwrap_or_default();
        println!(
            "{what}: {:?} after {} states",
            violation.lines().next(),
            explored.states
        );
        assert!(!violation.is_empty(), "{what} is not detected");
    }
}
