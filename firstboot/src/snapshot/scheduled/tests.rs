//! Tests the decisions of a scheduled run.

use std::collections::BTreeMap;

use super::*;
use crate::snapshot::manifest::tests::some;

const SLOT: u64 = 7200;
const END: u64 = 10_800;

fn taken_for(slot: u64) -> SnapshotRecord {
    let (mut manifest, place) = (some(slot + 60, 5), "/mnt/snapshots".parse().unwrap());
    manifest.host = "etcd-2".to_owned();
    record_of(slot, &Store::of(Some(&place), None).unwrap(), &manifest)
}

fn step(known: KnownRecord, now: u64) -> Step {
    next_step(known, SLOT, END, now)
}

#[test]
fn a_member_without_a_quorum_takes_a_snapshot_only_if_no_other_member_has_a_quorum() {
    for earlier in [None, Some(taken_for(SLOT - 3600))] {
        let own = KnownRecord::Own(earlier.clone());
        assert!(matches!(step(own, SLOT + 90), Step::Attempt));
        let of_other = KnownRecord::OfOther(earlier);
        assert!(matches!(step(of_other, SLOT + 90), Step::Wait));
    }
    let unknown = KnownRecord::Unknown(anyhow::anyhow!("no leader"));
    assert!(matches!(step(unknown, SLOT + 90), Step::Alone(_)));
}

#[test]
fn a_snapshot_for_the_slot_ends_the_run_even_after_the_slot() {
    for now in [SLOT + 90, END + 90] {
        for known in [KnownRecord::Own, KnownRecord::OfOther] {
            let step = step(known(Some(taken_for(SLOT))), now);
            assert!(
                matches!(&step, Step::Done(record) if record.host == "etcd-2"),
                "{step:?}"
            );
        }
    }
    for known in [KnownRecord::Own, KnownRecord::OfOther] {
        assert!(matches!(step(known(None), END), Step::Overdue));
    }
    let before_the_next_run = step(KnownRecord::OfOther(None), END - 60);
    assert!(matches!(before_the_next_run, Step::Overdue));
}

/// While an alarm is active, only the destination shows whether the snapshot of a slot exists.
#[test]
fn only_a_good_snapshot_of_the_slot_and_the_cluster_covers_the_slot() {
    let now = SLOT + 90;
    let name = |time, size, cluster: &str| {
        let manifest = some(time, 5);
        let found = [ListedSnapshot {
            name: manifest.file.clone(),
            size,
            manifest: Some(manifest),
        }];
        covering(&found, &cluster.parse().unwrap(), SLOT, now).map(str::to_owned)
    };
    assert_eq!(name(SLOT + 60, 5, "demo"), Some(some(SLOT + 60, 5).file));
    assert_eq!(name(SLOT - 60, 5, "demo"), None, "an earlier slot");
    assert_eq!(name(now + 3600, 5, "demo"), None, "a wrong clock");
    assert_eq!(name(SLOT + 60, 4, "demo"), None, "damaged");
    assert_eq!(name(SLOT + 60, 5, "other"), None, "another cluster");
    let unknown = [ListedSnapshot {
        name: "a.db".into(),
        size: 5,
        manifest: None,
    }];
    assert_eq!(
        covering(&unknown, &"demo".parse().unwrap(), SLOT, now),
        None
    );
}

#[test]
fn all_members_compute_the_same_order_and_each_is_first_about_equally_often() {
    let members: Vec<Label> = ["etcd-1", "etcd-2", "etcd-3"]
        .map(|name| name.parse().unwrap())
        .to_vec();
    let mut first = BTreeMap::new();
    for slot in (0..300u64).map(|nth| nth * 3600) {
        let drawn = sequence(members.iter(), slot);
        assert_eq!(drawn, sequence(members.iter().rev(), slot));
        *first.entry(drawn[0].clone()).or_insert(0) += 1;
        // If the first member leaves, the sequence of the other members does not change.
        let rest = members.iter().filter(|member| *member != drawn[0]);
        assert_eq!(sequence(rest, slot), drawn[1..]);
    }
    assert!(
        first.len() == 3 && first.values().all(|count| *count > 60),
        "{first:?}"
    );
}
