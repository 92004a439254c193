//! The scenarios that the model checker explores. Each test prints the number of states.

use super::explore::{Explored, every, some};
use super::faults::NONE;
use super::*;

const GOOD: &[Image] = &[Image::Good, Image::Good];

/// Returns whether the tests also explore the large scenarios, as `make test-all` does. The default
/// scenarios take a few seconds.
fn is_wide() -> bool {
    std::env::var_os("ETCD_IMAGE_ALL").is_some_and(|value| !value.is_empty())
}

/// Returns whether this run explores a scenario. A scenario counts as large if its description
/// joins two faults with "and".
fn is_explored(what: &str) -> bool {
    is_wide() || !what.contains(" and ")
}

fn scenario(nodes: usize, images: &'static [Image], left: Budget) -> Scenario {
    Scenario {
        nodes,
        images,
        reboots: false,
        reinstalls: false,
        left,
    }
}

#[track_caller]
fn safe(what: &str, explored: Explored) -> Explored {
    println!(
        "{what}: {} states, ends {:?}",
        explored.states, explored.ends
    );
    if let Some(violation) = &explored.violation {
        panic!("{what}: {violation}");
    }
    explored
}

/// Checks that all nodes have this image in every final state.
#[track_caller]
fn all_end_with(serial: u8, explored: &Explored) {
    let is_so = |images: &Vec<u8>| images.iter().all(|image| *image == serial);
    assert!(explored.ends.keys().all(is_so), "{:?}", explored.ends);
}

#[test]
fn without_faults_every_order_of_events_updates_all_nodes() {
    for nodes in 1..=if is_wide() { 4 } else { 3 } {
        let explored = every(scenario(nodes, GOOD, NONE), RULES);
        all_end_with(2, &safe(&format!("{nodes} nodes"), explored));
    }
}

#[test]
fn power_cuts_and_kills_at_any_moment_leave_each_node_on_the_new_image() {
    for (power, kills, reboots, wide) in [
        (1, 0, true, false),
        (0, 1, false, true),
        (1, 0, false, true),
        (0, 2, true, true),
    ] {
        if wide && !is_wide() {
            continue;
        }
        let left = Budget {
            power,
            kills,
            ..NONE
        };
        let scenario = Scenario {
            reboots,
            ..scenario(3, GOOD, left)
        };
        let what = format!("3 nodes, {power} power cuts, {kills} kills, reboots {reboots}");
        all_end_with(2, &safe(&what, every(scenario, RULES)));
    }
}

/// A node that loses power twice during the health check marks its image as failed, so this test
/// does not require that all nodes end with the new image.
#[test]
fn a_second_power_cut_does_not_mix_images() {
    let left = Budget { power: 2, ..NONE };
    let nodes = if is_wide() { 3 } else { 1 };
    let explored = every(scenario(nodes, GOOD, left), RULES);
    safe(&format!("{nodes} nodes, 2 power cuts"), explored);
}

#[test]
fn no_node_keeps_a_bad_image_and_the_next_release_reaches_all_nodes() {
    for bad in [Image::Dies, Image::DiesLater] {
        let images: &[Image] = match bad {
            Image::Dies => &[Image::Good, Image::Dies],
            _ => &[Image::Good, Image::DiesLater],
        };
        for (power, kills) in [(0, 0), (1, 0), (0, 1)] {
            if power + kills > 0 && !is_wide() {
                continue;
            }
            let left = Budget {
                power,
                kills,
                ..NONE
            };
            let what = format!("3 nodes, {bad:?}, {power} power cuts, {kills} kills");
            all_end_with(1, &safe(&what, every(scenario(3, images, left), RULES)));
        }
    }
    let images = &[Image::Good, Image::DiesLater, Image::Good];
    let nodes = if is_wide() { 3 } else { 2 };
    let explored = every(scenario(nodes, images, NONE), RULES);
    let explored = safe(
        &format!("{nodes} nodes, a bad release and a good one"),
        explored,
    );
    let last = |images: &Vec<u8>| images.iter().all(|image| *image != 2);
    assert!(explored.ends.keys().all(last), "{:?}", explored.ends);
}

#[test]
fn two_releases_in_quick_succession_leave_each_node_on_one_image() {
    let images = &[Image::Good, Image::Good, Image::Good];
    let nodes = if is_wide() { 3 } else { 2 };
    let explored = every(scenario(nodes, images, NONE), RULES);
    let explored = safe(&format!("{nodes} nodes, two releases"), explored);
    assert!(explored.ends.contains_key(&vec![3; nodes]));
}

#[test]
fn a_node_whose_disk_is_lost_or_that_is_cut_off_loses_its_turn() {
    let losses = Budget { losses: 1, ..NONE };
    let breaks = Budget { breaks: 1, ..NONE };
    for (what, left) in [
        ("a lost disk", losses),
        (
            "a lost disk and a released turn",
            Budget {
                breaks: 1,
                ..losses
            },
        ),
        (
            "a power cut and a released turn",
            Budget { power: 1, ..breaks },
        ),
        (
            "a partition with a released turn",
            Budget {
                partitions: 1,
                ..breaks
            },
        ),
        ("a lost disk and a kill", Budget { kills: 1, ..losses }),
    ] {
        if is_explored(what) {
            let explored = every(scenario(3, GOOD, left), RULES);
            all_end_with(2, &safe(&format!("3 nodes, {what}"), explored));
        }
    }
}

#[test]
fn reinstallations_happen_one_after_the_other_and_each_request_is_fulfilled_or_withdrawn() {
    let missed = Budget { missed: 1, ..NONE };
    let power = Budget { power: 1, ..NONE };
    for (what, left) in [
        ("no fault", NONE),
        ("a power cut", power),
        (
            "a boot into the old system",
            Budget {
                kills: u8::from(is_wide()),
                ..missed
            },
        ),
        (
            "a request that fails",
            Budget {
                refusals: 1,
                ..NONE
            },
        ),
        (
            "a boot into the old system and a power cut",
            Budget { power: 1, ..missed },
        ),
        ("a kill and a power cut", Budget { kills: 1, ..power }),
        (
            "a released turn and a boot into the old system",
            Budget {
                breaks: 1,
                ..missed
            },
        ),
    ] {
        if is_explored(what) {
            let scenario = Scenario {
                reinstalls: true,
                ..scenario(3, GOOD, left)
            };
            let explored = safe(
                &format!("3 reinstalled nodes, {what}"),
                every(scenario, RULES),
            );
            all_end_with(2, &explored);
        }
    }
}

#[test]
fn halts_deadlines_and_rollbacks_leave_each_node_on_one_image() {
    for (what, left) in [
        ("a halt", Budget { halts: 1, ..NONE }),
        (
            "an order that reaches its deadline",
            Budget {
                give_ups: 1,
                ..NONE
            },
        ),
        (
            "a halt and an order that reaches its deadline",
            Budget {
                halts: 1,
                give_ups: 1,
                ..NONE
            },
        ),
        (
            "a health check that reaches its deadline",
            Budget {
                timeouts: 1,
                ..NONE
            },
        ),
        (
            "a rollback",
            Budget {
                rollbacks: 1,
                ..NONE
            },
        ),
        (
            "a rollback and a power cut",
            Budget {
                rollbacks: 1,
                power: 1,
                ..NONE
            },
        ),
    ] {
        if is_explored(what) {
            let explored = every(scenario(3, GOOD, left), RULES);
            safe(&format!("3 nodes, {what}"), explored);
        }
    }
}

#[test]
fn a_restart_for_a_ca_and_an_update_exclude_each_other() {
    for (what, left) in [
        (
            "a document",
            Budget {
                documents: 1,
                ..NONE
            },
        ),
        (
            "a document and another",
            Budget {
                documents: 2,
                ..NONE
            },
        ),
        (
            "a document and a power cut",
            Budget {
                documents: 1,
                power: 1,
                ..NONE
            },
        ),
        (
            "a document and a kill",
            Budget {
                documents: 1,
                kills: 1,
                ..NONE
            },
        ),
    ] {
        if is_explored(what) {
            let explored = every(scenario(3, GOOD, left), RULES);
            all_end_with(2, &safe(&format!("3 nodes, {what}"), explored));
        }
    }
}

#[test]
fn five_nodes_in_random_orders_with_all_kinds_of_faults_violate_no_requirement() {
    let left = Budget {
        power: 2,
        kills: 2,
        losses: 1,
        partitions: 1,
        breaks: 2,
        halts: 1,
        give_ups: 1,
        timeouts: 1,
        documents: 2,
        rollbacks: 1,
        missed: 2,
        refusals: 1,
    };
    let images: &[&[Image]] = &[
        GOOD,
        &[Image::Good, Image::Dies, Image::Good],
        &[Image::Good, Image::DiesLater, Image::Good],
    ];
    let walks = if is_wide() { 1000 } else { 5 };
    for nodes in [3, 5] {
        for images in images {
            for (reboots, reinstalls) in [(false, false), (true, false), (false, true)] {
                let scenario = Scenario {
                    reboots,
                    reinstalls,
                    ..scenario(nodes, images, left)
                };
                let what = format!(
                    "{nodes} nodes at random, {images:?}, reboots {reboots}, reinstalls {reinstalls}"
                );
                safe(&what, some(scenario, walks, RULES));
            }
        }
    }
}
