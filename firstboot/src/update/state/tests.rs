//! Tests the state of updates on the disk, and makes states for other tests.

use recipes::{ImageBase, ReleasedFile};

use super::*;

/// Returns the state of an order to install image 7.
pub(in super::super) fn state(phase: UpdatePhase, why: Option<&str>) -> UpdateState {
    let overlay = ReleasedFile {
        size: 10,
        sha256: Sha256::of(&[7]),
    };
    let release = ReleaseDocument::new(
        "demo".parse().unwrap(),
        7,
        overlay.sha256,
        overlay,
        "3.6.14".parse().unwrap(),
        ImageBase::default(),
    );
    UpdateState {
        id: String::new(),
        node: "etcd-1".parse().unwrap(),
        order: UpdateOrder {
            release: Some(release),
            serial: 7,
            reinstall: None,
            soak: 60,
            reboot: Reboot::Never,
            until: 0,
            window: None,
        },
        phase,
        replacement: Replacement::default(),
        turn: true,
        downgrade: None,
        boot: String::new(),
        replacement_boot: String::new(),
        boots: 0,
        why: why.map(str::to_owned),
        marks_release_failed: why.is_some(),
    }
}

/// Without a quorum, the updater cannot release the turn, and a restore may be the only way to
/// get a quorum.
#[test]
fn an_updater_that_keeps_its_image_does_not_need_etcd() {
    let updated = |serial| Updated {
        serial,
        serial_before: None,
        replacement: None,
    };
    let mut order = state(UpdatePhase::CheckingHealth, Some("etcd died"));
    assert!(!order.needs_etcd(Some(&updated(7))));
    assert!(order.needs_etcd(Some(&updated(6))));
    assert!(order.needs_etcd(None));
    order.phase = UpdatePhase::Reverting;
    assert!(order.needs_etcd(Some(&updated(7))));
    let mut rollback = state(UpdatePhase::CheckingHealth, None);
    rollback.order.release = None;
    assert!(rollback.needs_etcd(Some(&updated(7))));
}

#[test]
fn a_repeated_rollback_keeps_the_serial_of_the_previous_image() {
    let updated = |serial_before| Updated {
        serial: 7,
        serial_before,
        replacement: Some(Replacement::default()),
    };
    let once = updated(Some(6)).after_rollback(7);
    assert_eq!(once.as_ref().map(|updated| updated.serial), Some(6));
    let again = once.clone().and_then(|updated| updated.after_rollback(7));
    assert_eq!(again, once);
    assert_eq!(updated(None).after_rollback(7), None);
}

/// An updater of an earlier version may have written the state.
#[test]
fn the_names_of_phases_and_results_are_the_same_as_in_earlier_versions() {
    let name = |phase: UpdatePhase| serde_json::to_value(phase).unwrap();
    for (phase, text) in [
        (UpdatePhase::Replacing, "exchanging"),
        (UpdatePhase::CheckingHealth, "proving"),
        (UpdatePhase::Reverting, "taking-back"),
        (UpdatePhase::RebootingReverted, "rebooting-back"),
    ] {
        assert_eq!(name(phase), text);
    }
    let name = |result: UpdateResult| serde_json::to_value(result).unwrap();
    for (result, text) in [
        (UpdateResult::Reverted, "taken-back"),
        (UpdateResult::NewImageKept, "kept"),
        (UpdateResult::NotUpdated, "given-up"),
    ] {
        assert_eq!(name(result), text);
    }
}

#[test]
fn the_cause_of_a_failed_installation_is_kept_after_a_restart() {
    let mut order = state(UpdatePhase::Replacing, None);
    order.record_failure("no space left on /boot".to_owned(), true);
    order.record_failure("the node stopped".to_owned(), false);
    assert_eq!(order.why.as_deref(), Some("no space left on /boot"));
    assert!(order.marks_release_failed);
    let mut interrupted = state(UpdatePhase::Replacing, None);
    interrupted.record_failure("the node stopped".to_owned(), false);
    assert_eq!(interrupted.why.as_deref(), Some("the node stopped"));
    assert!(!interrupted.marks_release_failed);
}
