//! Performs one run of the snapshot schedule. The timer starts a run on every member. If the
//! cluster has a quorum, only one member takes the snapshot.
//!
//! The members coordinate through two keys in etcd itself, which all members can reach. They cannot
//! coordinate through the destination of the snapshots, because a folder belongs to one member, and
//! an object store need not offer locks. The key `newest` identifies the newest snapshot and the
//! slot of the schedule for which it was taken. The member that takes the snapshot holds the key
//! `claim` with a lease. If that member fails, the lease expires, and another member takes the
//! snapshot. The sequence of the members changes from slot to slot, so that all disks fill evenly.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Result, bail};
use members::keys::{NEWEST_SNAPSHOT, SNAPSHOT_CLAIM, SnapshotRecord, is_from_wrong_clock};
use members::timestamp::{now, rfc3339};
use recipes::{Backup, ClusterDocument, Label, Sha256};

use super::listed::ListedSnapshot;
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

/// What this member knows about the record of the newest snapshot.
#[derive(Debug)]
enum KnownRecord {
    /// This member has a quorum.
    Own(Option<SnapshotRecord>),
    /// This member has no quorum, but another member has one.
    OfOther(Option<SnapshotRecord>),
    /// This member does not know of any member that has a quorum.
    Unknown(anyhow::Error),
}

/// The next step of a run.
#[derive(Debug)]
enum Step {
    /// The run ends, because this snapshot covers the slot.
    Done(SnapshotRecord),
    /// This member tries to take the snapshot for the cluster.
    Attempt,
    /// This member waits until a member that has a quorum has taken the snapshot. The data of this
    /// member may be old.
    Wait,
    /// This member takes a snapshot for itself, because the members cannot coordinate. A snapshot
    /// is especially valuable while the cluster has no quorum.
    Alone(anyhow::Error),
    /// The run ends, because the next snapshot is due.
    Overdue,
}

/// Returns the time at which a member without a quorum stops waiting for the snapshot of another
/// member. The run must end before the next slot, because systemd does not start a unit that is
/// active.
fn end_of_wait(slot: u64, end: u64) -> u64 {
    end - 60.min((end - slot) / 4)
}

/// Returns the next step of a run for the slot that lasts from `slot` to `end`.
fn next_step(known: KnownRecord, slot: u64, end: u64, now: u64) -> Step {
    let (record, step, end) = match known {
        KnownRecord::Own(record) => (record, Step::Attempt, end),
        KnownRecord::OfOther(record) => (record, Step::Wait, end_of_wait(slot, end)),
        KnownRecord::Unknown(error) => return Step::Alone(error),
    };
    match record.filter(|record| record.covers(slot, now)) {
        Some(record) => Step::Done(record),
        None if now >= end => Step::Overdue,
        None => step,
    }
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
    let run = Run {
        cluster: &cluster,
        backup,
        credentials: &credentials,
        target: &target,
        slot,
        any_size,
    };
    run.repeat().await
}

/// One run of the schedule.
struct Run<'a> {
    cluster: &'a ClusterDocument,
    backup: &'a Backup,
    credentials: &'a Credentials,
    target: &'a Target,
    slot: u64,
    any_size: bool,
}

/// A snapshot that this run has taken.
struct Taken {
    /// The exit code if the data of the member differs from the data of the other members.
    exit: Option<Exit>,
    /// Whether the snapshot is recorded in etcd.
    recorded: Result<()>,
    /// Whether to delete old snapshots.
    prunes: bool,
}

impl Run<'_> {
    /// Repeats the steps of the run until it ends.
    async fn repeat(&self) -> Result<Option<Exit>> {
        let end = self.slot + self.backup.schedule.period();
        let mut waits = false;
        loop {
            let source = Endpoint::at(None, self.credentials).await?;
            match next_step(self.known_record(&source).await, self.slot, end, now()) {
                Step::Done(record) => {
                    let (host, file) = (record.host, record.file);
                    let slot = rfc3339(self.slot);
                    say(format!("{host} has taken the snapshot of {slot}: {file}"));
                    return Ok(None);
                }
                Step::Attempt => {
                    if let ControlFlow::Break(exit) = self.attempt(&source).await? {
                        return Ok(exit);
                    }
                }
                Step::Wait if waits => {}
                Step::Wait => {
                    waits = true;
                    say(
                        "this member has no quorum, but another member has one: waiting until a member with a quorum \
                         has taken the snapshot",
                    );
                }
                Step::Alone(error) => return self.take_alone(&source, &error).await,
                Step::Overdue => {
                    return Err(not_ready(ReasonId::SnapshotOverdue.because(format!(
                        "no member took the snapshot of {} before the next snapshot was due",
                        rfc3339(self.slot)
                    ))));
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Reads the record of the newest snapshot through this member or, if this member has no
    /// quorum, through any other member.
    async fn known_record(&self, source: &Endpoint) -> KnownRecord {
        let error = match SnapshotRecord::read(&source.client).await {
            Ok((record, _)) => return KnownRecord::Own(record),
            Err(error) => error,
        };
        let members = self.cluster.members.iter();
        for other in members.filter(|member| member.name.as_str() != host()) {
            let read = async {
                let client = Client::connect(&other.client_url(), self.credentials).await?;
                SnapshotRecord::read(&client).await
            };
            if let Ok((record, _)) = read.await {
                return KnownRecord::OfOther(record);
            }
        }
        KnownRecord::Unknown(error)
    }

    /// Tries to take the snapshot, and then deletes old snapshots. Returns `Continue` if another
    /// member takes the snapshot.
    async fn attempt(&self, source: &Endpoint) -> Result<ControlFlow<Option<Exit>>> {
        let taken = match LeaseLock::try_acquire(&source.client, SNAPSHOT_CLAIM, host(), &[]).await
        {
            Ok(Some(lock)) => {
                let taken = lock.hold(self.take_and_record(source)).await;
                lock.release().await;
                taken?
            }
            Ok(None) => return Ok(ControlFlow::Continue(())),
            // The quorum has been lost since this member read the record.
            Err(_) if source.client.healthy().await.is_err() => {
                return Ok(ControlFlow::Continue(()));
            }
            // While a NOSPACE or CORRUPT alarm is active, etcd neither grants a lease for the claim
            // nor accepts a record (applierV3Capped and applierV3Corrupt in etcd's apply.go).
            Err(error) => {
                say(format!(
                    "cannot claim the snapshot in etcd ({error:#}): this member takes the snapshot unless {} already has it",
                    self.target.place
                ));
                let found = self.target.place.list().await?;
                if let Some(name) = covering(&found, &self.cluster.name, self.slot, now()) {
                    let slot = rfc3339(self.slot);
                    say(format!("the snapshot of {slot} exists: {name}"));
                    return Ok(ControlFlow::Break(None));
                }
                self.take_and_record(source).await?
            }
        };
        let Some(taken) = taken else {
            return Ok(ControlFlow::Continue(()));
        };
        let Taken { exit, recorded, .. } = taken;
        if taken.prunes {
            let (name, keep) = (&self.cluster.name, self.backup.keep);
            prune(&self.target.place, name, keep, false).await?;
        } else {
            let why = "keeping old snapshots, because etcd reports that the members' data differs";
            say(ReasonId::AlarmCorrupt.because(why).to_string());
        }
        recorded.map_err(|error| {
            not_ready(ReasonId::SnapshotUnrecorded.because(format!(
                "the snapshot was taken, but cannot be recorded in etcd: {error:#}"
            )))
        })?;
        Ok(ControlFlow::Break(exit))
    }

    /// Takes the snapshot and records it in etcd. Returns `None` if another member took the
    /// snapshot first.
    async fn take_and_record(&self, source: &Endpoint) -> Result<Option<Taken>> {
        // If this member's data differs from the majority's data, another member must take the
        // snapshot.
        let comparison = MemberComparison::ask(self.cluster, self.credentials, self.any_size).await;
        let exit = warn_of_differences(&comparison, source, false)?;
        // Another member may have finished its snapshot between the last check and the claim. If
        // the record cannot be read, two snapshots are better than none.
        let read = SnapshotRecord::read(&source.client).await;
        let known = read.ok().and_then(|(record, _)| record);
        if known.is_some_and(|record| record.covers(self.slot, now())) {
            return Ok(None);
        }
        let manifest = take(self.cluster, self.target, source, &comparison).await?;
        let place = &self.target.place;
        say(describe(place, &manifest));
        let recorded = record(&source.client, &record_of(self.slot, place, &manifest)).await;
        Ok(Some(Taken {
            exit,
            recorded,
            // If etcd reports that the members' data differs, keep the old snapshots. Only they are
            // known to have the right data.
            prunes: !comparison.is_any_corrupt(),
        }))
    }

    /// Takes a snapshot of this member without coordination.
    async fn take_alone(&self, source: &Endpoint, error: &anyhow::Error) -> Result<Option<Exit>> {
        say(format!(
            "cannot coordinate with the other members ({error:#}): this member takes its own snapshot"
        ));
        let comparison = MemberComparison::ask(self.cluster, self.credentials, self.any_size).await;
        let exit = warn_of_differences(&comparison, source, false)?;
        let manifest = take(self.cluster, self.target, source, &comparison).await?;
        say(describe(&self.target.place, &manifest));
        Ok(exit)
    }
}

/// Returns the name of a good snapshot of the cluster that was taken for this slot of the schedule,
/// or for a later slot.
fn covering<'a>(
    found: &'a [ListedSnapshot],
    cluster: &Label,
    slot: u64,
    now: u64,
) -> Option<&'a str> {
    let covers = |found: &&ListedSnapshot| {
        found.has_stated_size()
            && found.manifest.as_ref().is_some_and(|manifest| {
                manifest.cluster == *cluster
                    && manifest.time >= slot
                    && !is_from_wrong_clock(manifest.time, now)
            })
    };
    found.iter().find(covers).map(|found| found.name.as_str())
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
    bail!("other members keep changing the record")
}

/// Records a snapshot that an operator took, if the snapshot is at the recipe's destination. The
/// record prevents a second, scheduled snapshot for the same slot.
pub(super) async fn record_manual(
    cluster: &ClusterDocument,
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
mod tests;
