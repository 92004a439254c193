//! Tests which snapshots the retention policy keeps.

use proptest::prelude::*;

use super::*;
use crate::documentation::{documented, keys};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// 2026-11-22 00:00 UTC, a Sunday.
const SUNDAY: u64 = 1_795_305_600;
/// A time after all snapshots of these tests, except the snapshots whose times come from a
/// wrong clock.
const LATER: u64 = SUNDAY + 100_000 * DAY;

/// Returns a good snapshot. Its data is newer than the data of all earlier snapshots.
fn good(time: u64) -> Candidate<'static> {
    Candidate {
        time,
        ours: true,
        good: true,
        cluster_id: "a",
        revision: time.cast_signed(),
    }
}

/// Returns a good snapshot of a member that has been cut off since 1970.
fn stale(time: u64) -> Candidate<'static> {
    Candidate {
        revision: 1,
        ..good(time)
    }
}

fn keep(hourly: u32, daily: u32, weekly: u32, monthly: u32) -> RetentionPolicy {
    RetentionPolicy {
        hourly,
        daily,
        weekly,
        monthly,
    }
}

fn left(snapshots: &[Candidate<'_>], keep: RetentionPolicy) -> Vec<u64> {
    let gone = to_delete(snapshots, keep, LATER);
    (0..snapshots.len())
        .filter(|at| !gone.contains(at))
        .map(|at| snapshots[at].time)
        .collect()
}

#[test]
fn the_newest_snapshot_of_each_period_is_kept() {
    let hourly: Vec<Candidate> = (0..200).map(|nth| good(SUNDAY + nth * HOUR / 2)).collect();
    assert_eq!(
        left(&hourly, keep(2, 0, 0, 0)),
        [SUNDAY + 197 * HOUR / 2, SUNDAY + 199 * HOUR / 2]
    );
    assert_eq!(
        left(&hourly, keep(0, 2, 0, 0)),
        [SUNDAY + 4 * DAY - HOUR / 2, SUNDAY + 199 * HOUR / 2]
    );
    // A week ends on Sunday, so Sunday and the following Monday belong to different weeks.
    assert_eq!(
        left(&hourly, keep(0, 0, 9, 0)),
        [SUNDAY + DAY - HOUR / 2, SUNDAY + 199 * HOUR / 2]
    );
    let months: Vec<Candidate> = (0..10).map(|nth| good(SUNDAY + nth * 4 * DAY)).collect();
    assert_eq!(
        left(&months, keep(0, 0, 0, 2)),
        [SUNDAY + 36 * DAY - 28 * DAY, SUNDAY + 36 * DAY]
    );
}

/// A snapshot of a member whose clock is far ahead must not count as the newest snapshot of any
/// period.
#[test]
fn a_snapshot_from_a_wrong_clock_neither_counts_nor_is_deleted() {
    let (today, future) = (LATER - HOUR, LATER + 400 * DAY);
    for keep in [keep(0, 1, 0, 0), keep(0, 0, 0, 0)] {
        assert_eq!(
            left(&[good(today - DAY), good(future), good(today)], keep),
            [future, today],
            "{keep:?}"
        );
    }
}

#[test]
fn the_newest_good_snapshot_is_always_kept() {
    let nothing = keep(0, 0, 0, 0);
    let broken = Candidate {
        good: false,
        ..good(SUNDAY + DAY)
    };
    assert_eq!(
        left(&[good(SUNDAY), broken], nothing),
        [SUNDAY, SUNDAY + DAY]
    );
    assert_eq!(
        left(&[good(SUNDAY), broken, good(SUNDAY + 2 * DAY)], nothing),
        [SUNDAY + 2 * DAY]
    );
    assert_eq!(left(&[broken], nothing), [SUNDAY + DAY]);
}

/// A member that is cut off from the other members, but still reaches the store, takes snapshots
/// of old data.
#[test]
fn a_stale_snapshot_never_replaces_a_snapshot_with_newer_data() {
    let (newest, cut_off) = (SUNDAY, SUNDAY + HOUR / 2);
    let next = SUNDAY + HOUR;
    for keep in [
        keep(2, 0, 0, 0),
        keep(2, 2, 0, 0),
        keep(2, 2, 2, 0),
        keep(2, 2, 2, 2),
    ] {
        assert_eq!(
            left(&[good(newest), stale(cut_off), good(next)], keep),
            [newest, next],
            "{keep:?}"
        );
        // The other members have died, so the newest snapshot is stale.
        assert_eq!(
            left(&[good(newest), stale(cut_off)], keep),
            [newest, cut_off],
            "{keep:?}"
        );
    }
    let day = SUNDAY + DAY;
    assert_eq!(
        left(
            &[good(newest), stale(cut_off), stale(day)],
            keep(0, 0, 0, 0)
        ),
        [newest, day],
        "the snapshot with the newest data and the newest snapshot remain"
    );
    assert_eq!(
        left(
            &[good(newest - HOUR), good(newest), stale(day)],
            keep(0, 2, 0, 0)
        ),
        [newest - HOUR, newest, day],
        "a stale snapshot does not count towards N"
    );
}

#[test]
fn stale_snapshots_do_not_pile_up() {
    let mut snapshots = vec![good(SUNDAY)];
    snapshots.extend((1..100).map(|nth| stale(SUNDAY + nth * HOUR)));
    let newest = [97, 98, 99].map(|nth| SUNDAY + nth * HOUR);
    assert_eq!(
        left(&snapshots, keep(3, 0, 0, 0)),
        [&[SUNDAY][..], &newest].concat()
    );
    // After the cluster has recovered, the stale snapshots are deleted together with the good
    // snapshots of their time.
    snapshots.push(good(SUNDAY + 100 * HOUR));
    assert_eq!(left(&snapshots, keep(1, 0, 0, 0)), [SUNDAY + 100 * HOUR]);
}

/// A restore lowers the revision if it restores an old snapshot.
#[test]
fn the_revisions_of_different_clusters_are_not_compared() {
    let restored = Candidate {
        cluster_id: "b",
        ..stale(SUNDAY + HOUR / 2)
    };
    assert_eq!(
        left(&[good(SUNDAY), restored], keep(1, 1, 1, 1)),
        [SUNDAY + HOUR / 2]
    );
}

proptest! {
    #[test]
    fn all_required_snapshots_are_kept(
        snapshots in prop::collection::vec(
            (0u64..400, any::<bool>(), any::<bool>(), 0i64..100),
            0..60,
        ),
        counts in prop::array::uniform4(0u32..6),
    ) {
        let snapshots: Vec<Candidate<'_>> = snapshots
            .into_iter()
            .map(|(hours, ours, good, behind)| Candidate {
                time: SUNDAY + hours * 7 * HOUR,
                ours,
                good,
                cluster_id: if hours < 200 { "a" } else { "b" },
                // Most of the snapshots with a low revision are stale.
                revision: hours.cast_signed() - behind / 90 * 30,
            })
            .collect();
        let keep = keep(counts[0], counts[1], counts[2], counts[3]);
        let gone = to_delete(&snapshots, keep, LATER);
        prop_assert!(gone.iter().all(|at| snapshots[*at].ours), "only firstboot's own \
             snapshots are deleted");
        let newest = snapshots.iter().filter(|s| s.ours && s.good).map(|s| s.time).max();
        let kept: Vec<Candidate<'_>> =
            (0..snapshots.len()).filter(|at| !gone.contains(at)).map(|at| snapshots[at]).collect();
        let own: Vec<&Candidate<'_>> = kept.iter().filter(|s| s.ours && s.good).collect();
        prop_assert_eq!(own.iter().map(|s| s.time).max(), newest, "the newest good snapshot is \
             kept");
        let data = |s: &Candidate<'_>| (s.cluster_id == "b", s.revision);
        let newest = snapshots.iter().filter(|s| s.ours && s.good).map(data).max();
        prop_assert_eq!(own.iter().map(|s| data(s)).max(), newest, "the newest data is kept");
        // The policy keeps at most the requested number of snapshots, and the same number of
        // stale snapshots, but always at least one of each kind.
        let most = counts.iter().sum::<u32>() as usize;
        let stale = own
            .iter()
            .filter(|s| snapshots.iter().any(|other| other.ours && other.good && other.is_newer_than(s)));
        let stale = stale.count();
        prop_assert!(own.len() - stale <= most.max(1) && stale <= most + 1);
        // A second run does not delete any further snapshots.
        prop_assert!(to_delete(&kept, keep, LATER).is_empty());
    }
}

#[test]
fn the_documentation_lists_exactly_the_keys_of_the_result() {
    let output = JsonOutput {
        dry_run: true,
        removed: vec!["a.db".to_owned()],
    };
    assert_eq!(
        documented("json.md", "firstboot snapshot prune"),
        keys(&output)
    );
}
