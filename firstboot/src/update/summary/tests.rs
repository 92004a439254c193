//! Tests which facts about updates `firstboot status` shows.

use super::super::state::tests::state;
use super::super::update_keys::tests::{failed, halt, of_newest, turn};
use super::*;
use crate::documentation::{documented, keys};

const DIGEST: [u8; 32] = [7; 32];

fn look(serial: Option<u64>, own: Option<u64>, why: Option<&str>) -> LastCheck {
    LastCheck {
        overlay: Sha256::new(DIGEST),
        at: 100,
        serial,
        own,
        why: why.map(str::to_owned),
    }
}

/// Returns a node that was updated to image 6.
fn local() -> Local {
    Local {
        overlay: Some(Sha256::new(DIGEST)),
        updated: Some(Updated {
            serial: 6,
            serial_before: None,
            replacement: None,
        }),
        boot: "now".into(),
        ..Local::default()
    }
}

fn ended(end: UpdateResult, serial: u64, why: &str) -> OrderOutcome {
    OrderOutcome {
        id: String::new(),
        serial,
        end,
        why: why.into(),
        boot: Some("now".into()),
        at: 100,
    }
}

#[track_caller]
fn says(local: Local, update_keys: UpdateKeys, expected: &[&str]) {
    let said = Summary::of(true, local, update_keys).lines();
    let mut lines = said.lines();
    for expected in expected {
        let line = lines.next().unwrap_or_default();
        assert!(
            line.contains(expected),
            "{line:?} does not contain {expected:?}"
        );
    }
    assert_eq!(lines.next(), None, "{said}");
}

#[test]
fn the_documentation_lists_exactly_the_keys_of_the_summary() {
    let summary = Summary::of(true, Local::default(), UpdateKeys::default());
    assert_eq!(
        documented("status.md", "Updates in firstboot status"),
        keys(&summary)
    );
}

#[test]
fn the_serial_of_a_node_is_from_its_last_update_or_its_last_check() {
    says(local(), UpdateKeys::default(), &["image: 6"]);
    let installed = |look| Local {
        updated: None,
        look: Some(look),
        ..local()
    };
    says(
        installed(look(Some(5), Some(5), None)),
        UpdateKeys::default(),
        &["image: 5"],
    );
    says(
        installed(look(Some(6), Some(5), None)),
        UpdateKeys::default(),
        &["image: 5"],
    );
    says(
        installed(look(Some(5), None, None)),
        UpdateKeys::default(),
        &[],
    );
    // This check was made with a different image, before an installation or a rollback.
    let other = LastCheck {
        overlay: Sha256::new([8; 32]),
        ..look(Some(5), Some(5), None)
    };
    says(installed(other), UpdateKeys::default(), &[]);
}

/// Image 7 failed, and the operator returned to the recipe of image 6.
#[test]
fn a_node_has_the_highest_serial_of_its_image() {
    let update_keys = || UpdateKeys {
        failed: failed(),
        ..of_newest(7)
    };
    let seen = |overlay| Local {
        look: Some(LastCheck {
            overlay: Sha256::new(overlay),
            ..look(Some(8), Some(8), None)
        }),
        last: Some(ended(UpdateResult::Reverted, 7, "etcd died")),
        ..local()
    };
    says(seen(DIGEST), update_keys(), &["image: 8"]);
    let failed = "image 7 failed on etcd-2: etcd died";
    says(seen([8; 32]), update_keys(), &["image: 6", failed]);
    let older = Local {
        look: Some(look(Some(5), Some(5), None)),
        ..local()
    };
    says(older, UpdateKeys::default(), &["image: 6"]);
}

#[test]
fn the_shared_state_of_the_members_is_shown() {
    let update_keys = || UpdateKeys {
        turn: turn("etcd-2"),
        halt: halt(),
        failed: failed(),
        ..of_newest(7)
    };
    says(
        local(),
        update_keys(),
        &[
            "image: 6",
            "update: etcd-2 has held the turn, for image 7",
            "release freeze. `firstboot update --resume` ends the halt [update-halted]",
            "image 7 failed on etcd-2: etcd died",
        ],
    );
    // This node already has the failed image, for example after `--retry`.
    let new = Local {
        updated: Some(Updated {
            serial: 7,
            serial_before: None,
            replacement: None,
        }),
        ..local()
    };
    let only_failed = UpdateKeys {
        failed: failed(),
        ..of_newest(7)
    };
    says(new, only_failed, &["image: 7"]);
}

#[test]
fn a_node_that_keeps_a_failed_image_reports_it() {
    let why = "etcd died. The previous image is not restored: the cluster's version is 3.6";
    let kept = Local {
        last: Some(ended(UpdateResult::NewImageKept, 6, why)),
        ..local()
    };
    says(
        kept,
        UpdateKeys::default(),
        &["image: 6", "the cluster's version is 3.6 [update-kept]"],
    );
}

#[test]
fn an_update_in_progress_is_shown_instead_of_the_previous_outcome() {
    let mut order = state(UpdatePhase::Recovering, Some("an operator ordered it"));
    order.order.release = None;
    let busy = Local {
        state: Some(order),
        last: Some(ended(UpdateResult::Reverted, 7, "a power cut")),
        look: Some(look(Some(7), Some(6), Some("closed [update-window]"))),
        ..local()
    };
    let update_keys = UpdateKeys {
        turn: turn("etcd-1"),
        ..of_newest(7)
    };
    let expected = "restoring the image that it had before image 7: an operator ordered it \
         [update-busy]";
    says(busy, update_keys, &["image: 6", expected]);
}

#[test]
fn an_updater_that_keeps_its_image_says_that_it_waits_for_a_quorum() {
    for (why, expected) in [
        (
            Some("etcd died"),
            "image 7 failed on this node, but the node keeps it, and cannot release its turn \
             until etcd has a quorum: etcd died [update-busy]",
        ),
        (
            None,
            "this node has image 7, and cannot release its turn until etcd has a quorum \
             [update-busy]",
        ),
    ] {
        let kept = Local {
            updated: Some(Updated {
                serial: 7,
                serial_before: Some(6),
                replacement: None,
            }),
            state: Some(state(UpdatePhase::CheckingHealth, why)),
            ..local()
        };
        says(kept, UpdateKeys::default(), &["image: 7", expected]);
    }
    let reverts = Local {
        state: Some(state(UpdatePhase::CheckingHealth, Some("etcd died"))),
        ..local()
    };
    let expected = "waiting until it can restore the image that it had before image 7";
    says(reverts, UpdateKeys::default(), &["image: 6", expected]);
}

#[test]
fn the_reason_why_a_newer_image_is_not_installed_is_shown() {
    let with = |look| Local {
        look: Some(look),
        ..local()
    };
    says(
        with(look(
            Some(7),
            Some(6),
            Some("the window is closed [update-window]"),
        )),
        UpdateKeys::default(),
        &[
            "image: 6",
            "does not install image 7: the window is closed [update-window]",
        ],
    );
    says(
        with(look(None, Some(6), Some("no route"))),
        UpdateKeys::default(),
        &["image: 6", "cannot check for a newer image: no route"],
    );
    // The node has installed the newer image since the check.
    says(
        with(look(
            Some(6),
            Some(6),
            Some("the window is closed [update-window]"),
        )),
        UpdateKeys::default(),
        &["image: 6"],
    );
    // Both the last check and etcd contain the halt, but the summary must show the halt only once.
    says(
        with(look(Some(7), Some(6), Some("halted [update-halted]"))),
        UpdateKeys {
            halt: halt(),
            ..UpdateKeys::default()
        },
        &["image: 6", "release freeze"],
    );
}

#[test]
fn the_outcome_of_the_last_update_is_shown_until_it_is_outdated() {
    let with = |last| Local {
        last: Some(last),
        ..local()
    };
    says(
        with(ended(UpdateResult::Reverted, 7, "a power cut")),
        UpdateKeys::default(),
        &["image: 6", "a power cut [update-taken-back]"],
    );
    says(
        with(ended(
            UpdateResult::NotUpdated,
            7,
            "etcd-2 has the turn [update-turn]",
        )),
        UpdateKeys::default(),
        &["image: 6", "etcd-2 has the turn [update-turn]"],
    );
    // The node has this image already, and dropped the order to roll it back.
    says(
        with(ended(
            UpdateResult::NotUpdated,
            6,
            "this node dropped the order to roll image 6 back [update-deadline]",
        )),
        UpdateKeys::default(),
        &[
            "image: 6",
            "update: this node dropped the order to roll image 6 back [update-deadline]",
        ],
    );
    says(
        with(ended(UpdateResult::Reverted, 5, "x")),
        UpdateKeys::default(),
        &["image: 6"],
    );
    let reboot = ended(UpdateResult::Updated, 6, "reboot to apply /etc/fstab");
    says(
        with(reboot.clone()),
        UpdateKeys::default(),
        &["image: 6", "reboot to apply /etc/fstab [update-reboot]"],
    );
    let rebooted = OrderOutcome {
        boot: Some("before".into()),
        ..reboot
    };
    says(with(rebooted), UpdateKeys::default(), &["image: 6"]);
}
