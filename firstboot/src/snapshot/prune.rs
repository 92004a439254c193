//! Deletes snapshots according to the retention policy of the recipe, `[backup] keep`.

use std::collections::{BTreeMap, BTreeSet};

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
struct Candidate<'a> {
    /// The time at which the snapshot was taken, in seconds since 1970.
    time: u64,
    /// Whether the snapshot's manifest names this cluster.
    ours: bool,
    /// Whether the snapshot has the size that its manifest states.
    good: bool,
    /// The id of the etcd cluster. Each restore creates a cluster with a new id.
    cluster_id: &'a str,
    /// etcd's revision in the snapshot.
    revision: i64,
}

/// Returns the indices of the snapshots to delete.
///
/// For each of the last N hours, days, weeks and months that have a snapshot, firstboot keeps the
/// newest snapshot. `keep` specifies N for each of these periods. firstboot always keeps the newest
/// good snapshot and every file that does not have a manifest of this cluster. A damaged snapshot
/// does not count towards N, and firstboot deletes it once a newer good snapshot exists. firstboot
/// ignores a snapshot whose time comes from a wrong clock. If such a snapshot counted towards N,
/// firstboot would delete a snapshot with a correct time instead.
///
/// A stale snapshot does not count towards N either. firstboot keeps it if it is the newest
/// snapshot of all, or if its period has no other snapshot (see [`newest_of_each`]).
fn to_delete(snapshots: &[Candidate<'_>], keep: RetentionPolicy, now: u64) -> Vec<usize> {
    let dated = |at: &usize| !is_from_wrong_clock(snapshots[*at].time, now);
    let mut newest_first: Vec<usize> = (0..snapshots.len())
        .filter(|at| snapshots[*at].ours && snapshots[*at].good && dated(at))
        .collect();
    newest_first.sort_by_key(|at| (std::cmp::Reverse(snapshots[*at].time), *at));
    let is_stale = |at: &usize| {
        let mut others = newest_first.iter();
        others.any(|other| snapshots[*other].is_newer_than(&snapshots[*at]))
    };
    let (stale, current): (Vec<usize>, Vec<usize>) =
        newest_first.iter().partition(|at| is_stale(at));
    let newest = [newest_first.first(), current.first()];
    let mut kept: BTreeSet<usize> = newest.into_iter().flatten().copied().collect();
    let mut newest_of_each = |count: u32, period: fn(u64) -> i64| {
        let period = |at: &usize| period(snapshots[*at].time);
        kept.extend(newest_of_each(&current, &stale, count as usize, period));
    };
    newest_of_each(keep.hourly, hour);
    newest_of_each(keep.daily, day);
    newest_of_each(keep.weekly, week);
    newest_of_each(keep.monthly, month);
    let newest = current.first().map(|at| snapshots[*at].time);
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

/// Returns the newest snapshot of each of the last `count` periods that have a snapshot in
/// `current`. Also returns the newest stale snapshot of each of the last `count` periods that have
/// only stale snapshots. If `current` has snapshots from `count` periods, a period before the
/// oldest of these `count` periods does not count. firstboot cannot rule out that a stale snapshot
/// is the only copy of its data: the clock of the member with the higher revision may have been
/// behind. In `current` and in `stale`, newer snapshots precede older ones.
fn newest_of_each(
    current: &[usize],
    stale: &[usize],
    count: usize,
    period: impl Fn(&usize) -> i64,
) -> Vec<usize> {
    let mut kept = BTreeMap::new();
    for at in current {
        if kept.len() < count {
            kept.entry(period(at)).or_insert(*at);
        }
    }
    let oldest = kept.keys().next().copied();
    let oldest = oldest.filter(|_| kept.len() == count).unwrap_or(i64::MIN);
    let mut between = BTreeMap::new();
    for at in stale {
        let own = period(at);
        if between.len() < count && own > oldest && !kept.contains_key(&own) {
            between.entry(own).or_insert(*at);
        }
    }
    kept.into_values().chain(between.into_values()).collect()
}

impl Candidate<'_> {
    /// Returns whether this snapshot has newer data than the snapshot `other`, although it was not
    /// taken later. The snapshot `other` is then stale: its member was cut off from the other
    /// members, or has different data.
    fn is_newer_than(&self, other: &Self) -> bool {
        self.cluster_id == other.cluster_id
            && self.time <= other.time
            && self.revision > other.revision
    }
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
    let seen: Vec<Candidate<'_>> = found.iter().map(|found| seen(found, cluster)).collect();
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

fn seen<'a>(found: &'a ListedSnapshot, cluster: &Label) -> Candidate<'a> {
    let manifest = found.manifest.as_ref();
    Candidate {
        time: manifest.map_or(0, |manifest| manifest.time),
        ours: manifest.is_some_and(|manifest| manifest.cluster == *cluster),
        good: found.has_stated_size(),
        cluster_id: manifest.map_or("", |manifest| &manifest.cluster_id),
        revision: manifest.map_or(0, |manifest| manifest.snapshot.revision),
    }
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let cluster = identity::cluster()?;
    let place = Store::existing(options.place.as_ref(), cluster.backup.as_ref())?;
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
mod tests;
