//! Tests the board in Chromium, as an operator sees it on a phone and on a desktop computer.

mod cluster;
mod page;
mod states;

use libtest_mimic::Trial;
use tests::harness::long;
use tests::requirement::{NEEDS_SERVER, NEEDS_SERVER_AND_HOSTS, Requirement};

pub(crate) fn trials() -> Vec<Trial> {
    let server = [NEEDS_SERVER, &[Requirement::Browser]].concat();
    let hosts = [NEEDS_SERVER_AND_HOSTS, &[Requirement::Browser]].concat();
    vec![
        long(
            "the_board_shows_every_stage_of_a_machine_in_chromium",
            &server,
            states::every_stage,
        ),
        long(
            "the_board_reloads_in_chromium_if_it_cannot_follow_changes",
            &server,
            states::reloads,
        ),
        long(
            "the_board_follows_a_cluster_through_a_rebuild_and_updates_in_chromium",
            &hosts,
            cluster::whole_life,
        ),
    ]
}
