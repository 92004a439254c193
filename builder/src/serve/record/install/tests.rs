//! Tests of the record of one installation.

use std::time::Duration;

use super::*;

const RETRIES: u32 = 3;
const IMAGE: Sha256 = Sha256::new([7; 32]);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

#[test]
fn only_the_stage_installed_ends_an_installation() {
    for stage in [
        InstallStage::Started,
        InstallStage::Installing,
        InstallStage::Failed,
    ] {
        let mut record = Installation::allowed();
        record.note_sent("t".to_owned(), at(0));
        record.note_kickstart(at(1));
        record.report("t", stage, None, at(2)).unwrap();
        assert_eq!(record.next(RETRIES), NextBoot::Install(2), "{stage}");
    }
    let mut record = Installation::allowed();
    record.note_sent("t".to_owned(), at(0));
    record
        .report("t", InstallStage::Installed, None, at(5))
        .unwrap();
    assert_eq!(record.next(RETRIES), NextBoot::Disk(at(5)));
    record
        .report("t", InstallStage::Healthy, None, at(9))
        .unwrap();
    assert_eq!(
        record.next(RETRIES),
        NextBoot::Disk(at(5)),
        "the time of the first report must be recorded"
    );
}

#[test]
fn an_unfinished_installation_is_repeated_three_times() {
    let mut record = Installation::allowed();
    for attempt in 1..=4 {
        assert_eq!(record.next(RETRIES), NextBoot::Install(attempt));
        record.note_sent(format!("t{attempt}"), at(u64::from(attempt)));
    }
    assert_eq!(record.next(RETRIES), NextBoot::Held);
    record
        .report(
            "t4",
            InstallStage::Failed,
            Some("no disk".to_owned()),
            at(9),
        )
        .unwrap();
    assert_eq!(record.next(RETRIES), NextBoot::Held);
    assert_eq!(record.last.unwrap().why.as_deref(), Some("no disk"));
}

#[test]
fn a_report_of_an_older_attempt_changes_nothing() {
    let mut record = Installation::allowed();
    assert_eq!(
        record.report("", InstallStage::Installed, None, at(0)),
        Err(StaleReport),
        "an empty token must not match"
    );
    record.note_sent("one".to_owned(), at(0));
    record.note_sent("two".to_owned(), at(1));
    let before = record.clone();
    assert_eq!(
        record.report("one", InstallStage::Installed, None, at(2)),
        Err(StaleReport)
    );
    assert_eq!(record, before);
}

#[test]
fn a_late_report_does_not_undo_an_installation() {
    let mut record = Installation::allowed();
    record.note_sent("t".to_owned(), at(0));
    record
        .report("t", InstallStage::Installed, None, at(1))
        .unwrap();
    assert_eq!(
        record.report("t", InstallStage::Failed, None, at(2)),
        Err(StaleReport)
    );
    assert_eq!(record.next(RETRIES), NextBoot::Disk(at(1)));
}

#[test]
fn a_machine_that_fetched_its_document_is_installed() {
    let mut record = Installation::allowed();
    record.note_sent("t".to_owned(), at(0));
    record.note_document(at(7));
    assert_eq!(
        record.next(RETRIES),
        NextBoot::Disk(at(7)),
        "its report was lost"
    );
    let mut record = Installation::allowed();
    record.note_document(at(7));
    assert_eq!(
        record.next(RETRIES),
        NextBoot::Disk(at(7)),
        "another installer installed the machine"
    );
}

#[test]
fn a_machine_that_fetched_the_kickstart_without_ipxe_counts_as_installed() {
    let mut record = Installation::allowed();
    record.note_kickstart(at(1));
    assert_eq!(record.next(RETRIES), NextBoot::Disk(at(1)));
}

#[test]
fn a_node_that_withdraws_its_request_is_not_installed_again() {
    let mut installed = Installation::allowed();
    installed.note_sent("t".to_owned(), at(0));
    installed
        .report("t", InstallStage::Healthy, None, at(1))
        .unwrap();
    let asked = Installation::asked_by_node(Some(installed.clone()), IMAGE, at(2));
    assert_eq!(asked.next(RETRIES), NextBoot::Install(1));
    assert_eq!(asked.withdrawn(), Some(installed.clone()));
    // The node repeats its request, because the answer may get lost.
    let mut again = Installation::asked_by_node(Some(asked), IMAGE, at(3));
    assert_eq!(again.withdrawn(), Some(installed.clone()));
    // The installer stopped without a change, and the old system was started.
    again.note_sent("u".to_owned(), at(4));
    assert_eq!(again.withdrawn(), Some(installed));
    again
        .report("u", InstallStage::Installed, None, at(5))
        .unwrap();
    assert_eq!(again.withdrawn(), None, "the installation is complete");

    // This server has not installed the node.
    let asked = Installation::asked_by_node(None, IMAGE, at(2));
    assert_eq!(asked.next(RETRIES), NextBoot::Install(1));
    let restored = asked.withdrawn().unwrap();
    assert_eq!(restored.next(RETRIES), NextBoot::Disk(at(2)));
    assert_eq!(Installation::allowed().withdrawn(), None);
}

#[test]
fn a_node_that_withdraws_its_request_does_not_withdraw_the_operators_permission() {
    let asked = Installation::asked_by_node(Some(Installation::allowed()), IMAGE, at(1));
    assert_eq!(asked.withdrawn(), Some(Installation::allowed()));
}

#[test]
fn a_record_is_read_back_unchanged() {
    let mut record = Installation::asked_by_node(None, IMAGE, at(0));
    record.note_sent("t".to_owned(), at(0));
    record
        .report("t", InstallStage::Failed, Some("why".to_owned()), at(1))
        .unwrap();
    let text = serde_json::to_string(&record).unwrap();
    assert!(text.contains(r#""step":"failed""#), "{text}");
    assert_eq!(serde_json::from_str::<Installation>(&text).unwrap(), record);
    for kind in [
        InstallEventKind::Sent,
        InstallEventKind::ByHand,
        InstallEventKind::Kickstart,
        InstallEventKind::Document,
        InstallEventKind::Reported(InstallStage::Started),
    ] {
        let text = serde_json::to_string(&kind).unwrap();
        assert_eq!(
            serde_json::from_str::<InstallEventKind>(&text).unwrap(),
            kind,
            "{text}"
        );
    }
}

#[test]
fn only_a_new_permission_or_a_request_of_the_node_ends_a_hold() {
    let mut record = Installation::allowed();
    record.note_hold(RETRIES);
    assert!(!record.held);
    for attempt in 1..=4 {
        record.note_sent(format!("t{attempt}"), at(attempt));
        record.note_hold(RETRIES);
        assert_eq!(record.held, attempt == 4, "attempt {attempt}");
    }
    let text = serde_json::to_string(&record).unwrap();
    let held: Installation = serde_json::from_str(&text).unwrap();
    assert_eq!(held.next(10 * RETRIES), NextBoot::Held);
    let asked = Installation::asked_by_node(Some(held), IMAGE, at(9));
    assert_eq!(asked.next(RETRIES), NextBoot::Install(1));
    // The record of an earlier version does not contain the hold.
    let earlier: Installation = serde_json::from_str("{\"attempts\":4}").unwrap();
    assert_eq!(earlier.next(RETRIES), NextBoot::Held);
}
