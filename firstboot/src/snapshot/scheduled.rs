//! Performs one run of the snapshot schedule. The timer starts a run on every member. If the
//! cluster has a quorum, only one member takes the snapshot.
//!
//! The members coordinate through two keys in etcd itself, which all members can reach. They cannot
//! coordinate through the destination of the snapshots, because a folder belongs to one member, and
//! an object store need not offer locks. The key `newest` identifies the newest snapshot and the
//! slot of the schedule for which it was taken. The member that takes the snapshot holds the key
//! `claim` with a lease. If that member fails, the lease expires, and another member takes the
//! snapshot. The sequence of the members changes from slot to slot, so that all disks fill evenly.

use std::time::Duration;

use anyhow::Result;
use members::keys::{NEWEST_SNAPSHOT, SnapshotRecord};
use members::timestamp::{now, rfc3339};
use recipes::{ClusterDocument, Label, Sha256};

use super::manifest::Manifest;
use super::member_comparison::MemberComparison;
use super::prune::prune;
use super::source::Endpoint;
use super::store::Store;
use super::take::{describe, take, warn_of_differences};
use super::target::Target;
use crate::etcd::{Client, Credentials, installed_credentials};
use crate::exit::{Exit, not_ready, refused};
use crate::identity;
use crate::lease_lock::LeaseLock;
use crate::local_time;
use crate::machine::host;
use crate::output::say;
use crate::reason::ReasonId;

/// The key that a member holds while it takes the snapshot.
const CLAIM: &str = "/etcd-image/backup/claim";
/// The pause between two checks while a member waits.
const INTERVAL: Duration = Duration::from_secs(5);

fn record_of(slot: u64, location: &Store, manifest: &Manifest) -> SnapshotRecord {
    SnapshotRecord {
        slot,
        time: manifest.time,
        host: manifest.host.clone(),
        location: location.to_string(),
        file: manifest.file.clone(),
        sha256: manifest.sha256,
        revision: manifest.snapshot.revision,
    }
}

/// Returns the members in the sequence in which they attempt to take the snapshot of a slot. Every
/// member computes the same sequence (rendezvous hashing).
fn sequence<'a>(members: impl Iterator<Item = &'a Label>, slot: u64) -> Vec<&'a Label> {
    let mut drawn: Vec<(Sha256, &Label)> = members
        .map(|member| (Sha256::of(format!("{slot} {member}").as_bytes()), member))
        .collect();
    drawn.sort();
    drawn.into_iter().map(|(_, member)| member).collect()
}

/// Takes the snapshot for the current slot, and then deletes old snapshots. Does nothing if another
/// member has already taken this snapshot.
pub(super) async fn run(spread: Duration, any_size: bool) -> Result<Option<Exit>> {
    let cluster = identity::cluster()?;
    let backup = cluster.backup.as_ref();
    let backup = backup.ok_or_else(|| {
        let why = "the recipe of this image has no [backup] section, so there is no schedule";
        refused(ReasonId::BackupNotConfigured.because(why))
    })?;
    let (begun, credentials) = (now(), installed_credentials()?);
    let slot = local_time::slot(backup.schedule, begun);
    let sequence = sequence(cluster.members.iter().map(|member| &member.name), slot);
    let rank = sequence
        .iter()
        .position(|name| name.as_str() == host())
        .unwrap_or(sequence.len());
    let target = Target::of(None, Some(backup))?;
    wait_turn(rank, sequence[0], slot, spread).await;
    let mut exit = None;
    while now() < slot + backup.schedule.period() {
        let source = Endpoint::at(None, &credentials).await?;
        let (record, _) = match SnapshotRecord::read(&source.client).await {
            Ok(found) => found,
            Err(error) => {
                return take_alone(&cluster, &credentials, &target, &source, any_size, &error)
                    .await;
            }
        };
        if let Some(record) = record.filter(|record| record.covers(slot, now())) {
            say(format!(
                "{} has taken the snapshot of {}: {}",
                record.host,
                rfc3339(slot),
                record.file
            ));
            return Ok(exit);
        }
        if let Some(lock) = LeaseLock::try_acquire(&source.client, CLAIM, host(), &[]).await? {
            let work = async {
                // If this member's data differs from the majority's data, another member must take
                // the snapshot.
                let comparison = MemberComparison::ask(&cluster, &credentials, any_size).await;
                let exit = warn_of_differences(&comparison, &source, false)?;
                let done = take_and_record(&cluster, &target, &source, &comparison, slot).await?;
                Ok::<_, anyhow::Error>((done, exit))
            };
            let done = lock.hold(work).await;
            lock.release().await;
            let (done, so) = done?;
            if done {
                exit = so;
                prune(&target.place, &cluster.name, backup.keep, false).await?;
            }
            continue;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Err(not_ready(ReasonId::SnapshotOverdue.because(format!(
        "no member took the snapshot of {} before the next snapshot was due",
        rfc3339(slot)
    ))))
}

/// Waits until the members that precede this member in the sequence have had time to take the
/// snapshot.
async fn wait_turn(rank: usize, first: &Label, slot: u64, spread: Duration) {
    let turn = spread * u32::try_from(rank).unwrap_or(u32::MAX);
    if rank > 0 {
        say(format!(
            "{1} is the first to attempt the snapshot of {0}; checking again in {2} s",
            rfc3339(slot),
            first,
            turn.as_secs()
        ));
        tokio::time::sleep(turn).await;
    }
}

/// Takes a snapshot of this member without coordination.
async fn take_alone(
    cluster: &ClusterDocument,
    credentials: &Credentials,
    target: &Target,
    source: &Endpoint,
    any_size: bool,
    error: &anyhow::Error,
) -> Result<Option<Exit>> {
    // Without a quorum, the members cannot coordinate, so each member takes its own snapshot. A
    // snapshot is especially valuable while the cluster has no quorum.
    say(format!(
        "cannot coordinate with the other members ({error:#}): this member takes its own snapshot"
    ));
    let comparison = MemberComparison::ask(cluster, credentials, any_size).await;
    let exit = warn_of_differences(&comparison, source, false)?;
    let manifest = take(cluster, target, source, &comparison).await?;
    say(describe(&target.place, &manifest));

    Ok(exit)
}

/// Takes the snapshot and records it in etcd. Returns `false` if another member took the snapshot
/// first.
async fn take_and_record(
    cluster: &recipes::ClusterDocument,
    target: &Target,
    source: &Endpoint,
    comparison: &MemberComparison,
    slot: u64,
) -> Result<bool> {
    // Another member may have finished its snapshot between the last check and the claim.
    if SnapshotRecord::read(&source.client)
        .await?
        .0
        .is_some_and(|record| record.covers(slot, now()))
    {
        return Ok(false);
    }
    let manifest = take(cluster, target, source, comparison).await?;
    say(describe(&target.place, &manifest));
    record(&source.client, &record_of(slot, &target.place, &manifest)).await?;
    Ok(true)
}

/// Records the snapshot in etcd, unless there is a newer record.
async fn record(client: &Client, record: &SnapshotRecord) -> Result<()> {
    for _ in 0..5 {
        let (known, seen) = SnapshotRecord::read(client).await?;
        if known.is_some_and(|known| known.is_newer_than(record, now())) {
            return Ok(());
        }
        if client
            .put_if(
                NEWEST_SNAPSHOT,
                &[(NEWEST_SNAPSHOT, seen)],
                serde_json::to_vec(record)?,
                None,
            )
            .await?
        {
            return Ok(());
        }
    }
    Err(not_ready(
        ReasonId::SnapshotUnrecorded
            .because("the snapshot was taken, but cannot be recorded in etcd: other members keep changing the record"),
    ))
}

/// Records a snapshot that an operator took, if the snapshot is at the recipe's destination. The
/// record prevents a second, scheduled snapshot for the same slot.
pub(super) async fn record_manual(
    cluster: &recipes::ClusterDocument,
    source: &Endpoint,
    place: &Store,
    manifest: &Manifest,
) {
    let Some(backup) = &cluster.backup else {
        return;
    };
    if place.to_string().trim_end_matches('/')
        != backup.destination.to_string().trim_end_matches('/')
    {
        return;
    }
    let slot = local_time::slot(backup.schedule, manifest.time);
    if let Err(error) = record(&source.client, &record_of(slot, place, manifest)).await {
        eprintln!("firstboot: cannot record this snapshot in etcd: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

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
}
