//! Tests the board in Chromium, as an operator sees it on the screens of a phone and of a desktop
//! computer.

mod cluster;
mod page;
mod states;

use libtest_mimic::Trial;
use tests::harness::long;
use tests::requirement::Requirement;

const REQUIREMENTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Curl,
    Requirement::Browser,
];
const HOSTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Nspawn,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Curl,
    Requirement::Browser,
];
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        long(
            "the_board_shows_every_stage_of_a_machine_in_chromium",
            REQUIREMENTS,
            states::every_stage,
        ),
        long(
            "the_board_reloads_in_chromium_if_it_cannot_follow_changes",
            REQUIREMENTS,
            states::reloads,
        ),
        long(
            "the_board_follows_a_cluster_through_a_rebuild_and_updates_in_chromium",
            HOSTS,
            cluster::whole_life,
        ),
    ]
}
