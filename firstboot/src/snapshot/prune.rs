//! Deletes snapshots according to the retention policy of the recipe, `[backup] keep`.

use std::collections::BTreeSet;

use anyhow::Result;
use members::keys::is_from_wrong_clock;
use members::timestamp::now;
use recipes::Label;
use recipes::backup::{Destination, RetentionPolicy};
use serde::Serialize;
use time::OffsetDateTime;

use super::listed::ListedSnapshot;
use super::store::Store;
use crate::identity;
use crate::output::{say, show_json};

/// The command line of `firstboot snapshot prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder or s3://BUCKET/PREFIX/ [default: the recipe's destination]
    place: Option<Destination>,
    /// Print the snapshots that would be deleted, without deleting them
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The result as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonOutput {
    /// Whether this was a dry run, in which case the snapshots still exist.
    dry_run: bool,
    /// The names of the snapshots that were or would be deleted.
    removed: Vec<String>,
}

/// The facts about a snapshot that determine whether firstboot deletes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    /// The time at which the snapshot was taken, in seconds since 1970.
    time: u64,
    /// Whether the snapshot's manifest names this cluster.
    ours: bool,
    /// Whether the snapshot has the size that its manifest states.
    good: bool,
}

/// Returns the indices of the snapshots to delete.
///
/// For each of the last N hours, days, weeks and months that have a snapshot, firstboot keeps the
/// newest snapshot. `keep` specifies N for each of these periods. firstboot always keeps the newest
/// good snapshot and every file that does not have a manifest of this cluster. A damaged snapshot
/// does not count towards N, and firstboot deletes it once a newer good snapshot exists. firstboot
/// ignores a snapshot whose time comes from a wrong clock. If such a snapshot counted towards N,
/// firstboot would delete a snapshot with a correct time instead.
fn to_delete(snapshots: &[Candidate], keep: RetentionPolicy, now: u64) -> Vec<usize> {
    let dated = |at: &usize| !is_from_wrong_clock(snapshots[*at].time, now);
    let mut newest_first: Vec<usize> = (0..snapshots.len())
        .filter(|at| snapshots[*at].ours && snapshots[*at].good && dated(at))
        .collect();
    newest_first.sort_by_key(|at| (std::cmp::Reverse(snapshots[*at].time), *at));
    let mut kept: BTreeSet<usize> = newest_first.first().copied().into_iter().collect();
    let mut newest_of_each = |count: u32, period: fn(u64) -> i64| {
        let mut filled = BTreeSet::new();
        for at in &newest_first {
            if filled.len() < count as usize && filled.insert(period(snapshots[*at].time)) {
                kept.insert(*at);
            }
        }
    };
    newest_of_each(keep.hourly, hour);
    newest_of_each(keep.daily, day);
    newest_of_each(keep.weekly, week);
    newest_of_each(keep.monthly, month);
    let newest = newest_first.first().map(|at| snapshots[*at].time);
    let goes = |at: &usize| {
        let snapshot = snapshots[*at];
        let superseded = newest.is_some_and(|newest| snapshot.time < newest);
        snapshot.ours
            && dated(at)
            && if snapshot.good {
                !kept.contains(at)
            } else {
                superseded
            }
    };
    (0..snapshots.len()).filter(goes).collect()
}

fn hour(time: u64) -> i64 {
    (time / 3600).cast_signed()
}

fn day(time: u64) -> i64 {
    (time / 86_400).cast_signed()
}

/// Returns the number of the week. Weeks start on Monday, and 1970-01-01 was a Thursday.
fn week(time: u64) -> i64 {
    ((time / 86_400 + 3) / 7).cast_signed()
}

fn month(time: u64) -> i64 {
    let moment = OffsetDateTime::from_unix_timestamp(time.cast_signed());
    moment.map_or(0, |moment| {
        i64::from(moment.year()) * 12 + i64::from(u8::from(moment.month()))
    })
}

/// Deletes the snapshots that `keep` does not retain, and logs each of them. In a dry run, only
/// logs them. Returns their names.
pub(super) async fn prune(
    place: &Store,
    cluster: &Label,
    keep: RetentionPolicy,
    dry_run: bool,
) -> Result<Vec<String>> {
    let found = place.list().await?;
    let seen: Vec<Candidate> = found.iter().map(|found| seen(found, cluster)).collect();
    let mut removed = Vec::new();
    for at in to_delete(&seen, keep, now()) {
        let name = &found[at].name;
        if dry_run {
            say(format!("would remove {name}"));
        } else {
            place.remove(name).await?;
            say(format!("removed {name} from {place}"));
        }
        removed.push(name.clone());
    }
    Ok(removed)
}

fn seen(found: &ListedSnapshot, cluster: &Label) -> Candidate {
    let manifest = found.manifest.as_ref();
    Candidate {
        time: manifest.map_or(0, |manifest| manifest.time),
        ours: manifest.is_some_and(|manifest| manifest.cluster == *cluster),
        good: found.has_stated_size(),
    }
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let cluster = identity::cluster()?;
    let place = Store::of(options.place.as_ref(), cluster.backup.as_ref())?;
    let keep = cluster
        .backup
        .as_ref()
        .map_or_else(RetentionPolicy::default, |backup| backup.keep);
    let removed = prune(&place, &cluster.name, keep, options.dry_run).await?;
    if options.json {
        show_json(&JsonOutput {
            dry_run: options.dry_run,
            removed,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    /// 2026-11-22 00:00 UTC, a Sunday.
    const SUNDAY: u64 = 1_795_305_600;
    /// A time after all snapshots of these tests, except the snapshots whose times come from a
    /// wrong clock.
    const LATER: u64 = SUNDAY + 100_000 * DAY;

    fn good(time: u64) -> Candidate {
        Candidate {
            time,
            ours: true,
            good: true,
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

    fn left(snapshots: &[Candidate], keep: RetentionPolicy) -> Vec<u64> {
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

    proptest! {
        #[test]
        fn all_required_snapshots_are_kept(
            snapshots in prop::collection::vec((0u64..400, any::<bool>(), any::<bool>()), 0..60),
            counts in prop::array::uniform4(0u32..6),
        ) {
            let snapshots: Vec<Candidate> = snapshots
                .into_iter()
                .map(|(hours, ours, good)| Candidate { time: SUNDAY + hours * 7 * HOUR, ours, good })
                .collect();
            let keep = keep(counts[0], counts[1], counts[2], counts[3]);
            let gone = to_delete(&snapshots, keep, LATER);
            prop_assert!(gone.iter().all(|at| snapshots[*at].ours), "only firstboot's own \
                 snapshots are deleted");
            let newest = snapshots.iter().filter(|s| s.ours && s.good).map(|s| s.time).max();
            let kept: Vec<Candidate> =
                (0..snapshots.len()).filter(|at| !gone.contains(at)).map(|at| snapshots[at]).collect();
            let own: Vec<&Candidate> = kept.iter().filter(|s| s.ours && s.good).collect();
            prop_assert_eq!(own.iter().map(|s| s.time).max(), newest, "the newest good snapshot is \
                 kept");
            // The policy keeps at most the requested number of snapshots, but always at least one.
            prop_assert!(own.len() <= counts.iter().sum::<u32>().max(1) as usize);
            // A second run does not delete any further snapshots.
            prop_assert!(to_delete(&kept, keep, LATER).is_empty());
        }
    }
}
