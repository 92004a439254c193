//! `firstboot restore`: restores every member from one snapshot and keeps the previous data, or
//! returns every member to the data that the last restore archived.
//!
//! firstboot verifies the file while etcd is still running. After the verification, etcd stops, and
//! the members agree on the restore through the barrier, which uses etcd's peer port. If all
//! members have the same order, each member builds its new data next to the old data and announces
//! that it is ready. Each member swaps its data only after all members are ready. After a failure
//! before the swap, etcd runs with its previous data again, unless the restore is `binding`.

mod answers;
mod archive;
mod binding;
mod build;
mod download;
mod execute;
mod options;
mod plan;
mod source;
mod swap;
mod temporary_file;
mod unknown_members;
mod update_records;
mod update_turn;
mod wait;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use members::timestamp::now;
use recipes::Label;

use crate::barrier;
use crate::domain::{BootstrapMode, Nonce};
use crate::exit::refused;
use crate::identity::Identity;
use crate::journal::{self, Event, Journal, NodeState, RestoreOrder, SnapshotFile};
use crate::lock::Lock;
use crate::metadata::SourceLog;
use crate::node::{obtain_identity, refuse_other_disk};
use crate::operator;
use crate::output::{say, show, show_json};
use crate::reason::ReasonId;
use crate::runtime::block_on;
use crate::systemd::FIRSTBOOT_UNIT;
use crate::{paths, update};
pub(crate) use execute::resume;
use execute::{RestoreOutcome, execute};
pub(crate) use options::Options;
use plan::RestorePlan;
use update_records::UpdateRecords;

pub(crate) fn run(options: &Options) -> Result<()> {
    let journal = Journal::open_read_only(paths::JOURNAL)?;
    if options.list {
        return list(options, &journal);
    }
    if let Some(days) = options.prune {
        let pruned = archive::prune(&journal, days, options.dry_run)?;
        return if options.json {
            show_json(&pruned)
        } else {
            Ok(())
        };
    }
    // Two `firstboot restore` commands at the same time would remove each other's downloaded
    // snapshots. Read the journal again, because the other command may have written to it.
    let lock = Lock::take_restore()?;
    let journal = Journal::open_read_only(paths::JOURNAL)?;
    let (identity, machine) = obtain_identity(&mut SourceLog::default())?;
    refuse_other_disk(&identity, &machine, &journal)?;
    let state = NodeState::of(&journal);
    drop(journal);
    refuse_during_restore(&state, options.solo)?;
    let without = without(options, &identity, &state)?;
    if !options.dry_run {
        refuse_during_update(&identity, &without)?;
        execute::remove_leftovers(&state);
    }
    if !options.solo {
        unknown_members::check(&identity, &without)?;
    }
    let prepared = prepare(options, &identity, &state, without);
    if options.dry_run || prepared.is_err() {
        // A downloaded snapshot must not occupy space on etcd's volume.
        execute::remove_leftovers(&state);
    }
    let (order, planned) = prepared?;
    if !options.dry_run {
        order_restore(options, &identity, &state, order, &planned, lock)?;
    }
    if options.json {
        show_json(&planned)?;
    }
    Ok(())
}

/// Verifies the snapshot or the archived data, and returns the order and the plan of the restore.
/// Prints the plan, unless a dry run prints it as JSON.
fn prepare(
    options: &Options,
    identity: &Identity,
    state: &NodeState,
    without: BTreeSet<Label>,
) -> Result<(RestoreOrder, RestorePlan)> {
    let patience = Duration::from_secs(options.deadline);
    let (mode, source) = choose_source(options, identity, state, patience)?;
    let planned = plan::plan(identity, state, mode, source.as_ref(), &without)?;
    if !(options.json && options.dry_run) {
        say(planned.to_string().trim_end());
    }
    let members = block_on(unknown_members::own_member_list()).ok();
    let binding = binding::is_binding(
        &without,
        source.is_none(),
        &identity.cluster,
        members.as_deref(),
        state,
    );
    if binding && !(options.json && options.dry_run) {
        say(
            "once this node has accepted the restore, neither ^C nor the deadline cancels it: the members that take part \
             and the members that do not could each have a quorum, in two clusters",
        );
    }
    let order = RestoreOrder {
        nonce: Nonce::draw()?,
        mode,
        without,
        source,
        until: 0,
        binding,
    };
    refuse_hidden_snapshot(&order)?;
    Ok((order, planned))
}

/// Writes the order to the journal, executes it, and waits until etcd is healthy. Releases `lock`
/// once the order is written.
fn order_restore(
    options: &Options,
    identity: &Identity,
    state: &NodeState,
    mut order: RestoreOrder,
    planned: &RestorePlan,
    lock: Lock,
) -> Result<()> {
    execute::prebuild(identity, state, &order)
        .context("nothing was restored, and etcd keeps running")?;
    order.until = now() + options.deadline;
    // `with_journal` starts firstboot.service again, which starts etcd with either the old or the
    // new data.
    let outcome = operator::with_journal(|journal| {
        // firstboot.service may have continued an earlier restore in the meantime.
        refuse_during_restore(&NodeState::of(journal), options.solo)?;
        // An update may have begun while this command downloaded and verified the snapshot.
        refuse_during_update(identity, &order.without)
            .inspect_err(|_| execute::remove_leftovers_locked(state))?;
        // etcd does not start without a disk id, and a later run does not generate a disk id for a
        // node with data. Therefore, generate a missing disk id now.
        if NodeState::of(journal).disk_id.is_none() {
            journal::init_disk_id(journal)?;
        }
        journal.add(Event::RestoreOrdered(Box::new(order)))?;
        drop(lock);
        // Report the swap now, because firstboot.service may fail to start afterwards.
        execute(identity, journal, true).inspect(|outcome| {
            if let RestoreOutcome::Swapped(line) = outcome {
                say(line);
            }
        })
    })?;
    let patience = Duration::from_secs(options.deadline);
    finish(outcome, identity, patience, planned.update_records())
}

/// Returns a refusal if an earlier restore has replaced data, or is binding on this node. With
/// `solo`, the operator has ensured that no other member is running, so the node may replace a
/// binding order.
fn refuse_during_restore(state: &NodeState, solo: bool) -> Result<()> {
    if state.swap.is_some() {
        return Err(refused(ReasonId::RestoreUnfinished.because(format!(
            "an earlier restore is not finished. Finish it with `systemctl restart {FIRSTBOOT_UNIT}`"
        ))));
    }
    if state.bound && !solo {
        return Err(refused(ReasonId::RestoreBinding.because(format!(
            "this node has accepted an earlier restore, and the other members may already have a quorum with the restored \
             data. Start the other members; {FIRSTBOOT_UNIT} then finishes that restore. If they are lost, switch them off, \
             and restore this node with --solo"
        ))));
    }
    Ok(())
}

/// Returns a refusal if the order is binding, but firstboot.service could not read the snapshot to
/// continue the restore, because the service has its own /tmp and /var/tmp.
fn refuse_hidden_snapshot(order: &RestoreOrder) -> Result<()> {
    let Some(source) = order.source.as_ref().filter(|_| order.binding) else {
        return Ok(());
    };
    if ["/tmp", "/var/tmp"]
        .iter()
        .any(|folder| source.path.starts_with(folder))
    {
        return Err(refused(ReasonId::RestoreSource.because(format!(
            "{} is not visible to {FIRSTBOOT_UNIT}, which may have to continue this restore. Copy the snapshot to another \
             folder",
            source.path.display()
        ))));
    }
    Ok(())
}

/// Returns a "not ready" error while an update of this node, or of another member that takes part
/// in the restore, needs etcd.
fn refuse_during_update(identity: &Identity, without: &BTreeSet<Label>) -> Result<()> {
    update::refuse_during_replacement()?;
    update_turn::check(identity, without)
}

fn list(options: &Options, journal: &Journal) -> Result<()> {
    let archived = archive::list(journal)?;
    if options.json {
        show_json(&archived)
    } else {
        Ok(show(&archive::table(&archived)?)?)
    }
}

/// Waits until etcd is healthy with the new data, and writes the halt of updates and the records of
/// failed releases again. Returns an error if the restore was abandoned.
fn finish(
    outcome: RestoreOutcome,
    identity: &Identity,
    patience: Duration,
    records_before: Option<&UpdateRecords>,
) -> Result<()> {
    match outcome {
        RestoreOutcome::Swapped(_) => {
            let healthy = wait::until_healthy(identity, patience);
            update_records::keep(records_before, identity);
            healthy
        }
        RestoreOutcome::HandedOver(why) => why.map_or(Ok(()), Err),
        RestoreOutcome::Abandoned(why) => {
            Err(why.context("nothing was restored, and etcd starts with its previous data"))
        }
    }
}

/// Chooses between a rollback to the archived data and a restore from a snapshot.
fn choose_source(
    options: &Options,
    identity: &Identity,
    state: &NodeState,
    patience: Duration,
) -> Result<(BootstrapMode, Option<SnapshotFile>)> {
    if options.rollback {
        let archived = state.archived.as_ref();
        let archived =
            archived.ok_or_else(|| {
                refused(ReasonId::ArchiveUnusable.because(
                    "no restore has archived data on this node, so a rollback is impossible",
                ))
            })?;
        archive::check(archived)?;
        archive::check_version(archived, identity.cluster.etcd.version)?;
        say(
            "after the rollback, the cluster continues at the revision of the archived data. Clients that have seen a later \
             revision then miss changes without an error. Restart these clients",
        );
        let mode = BootstrapMode::Rollback {
            cluster: archived.cluster_id,
        };
        Ok((mode, None))
    } else {
        let source = source::get(options, identity, patience)?;
        let restore = plan::mode(options.keep_revision, identity, state, &source)?;
        Ok((restore, Some(source)))
    }
}

/// Returns the members for which the restore does not wait.
fn without(options: &Options, identity: &Identity, state: &NodeState) -> Result<BTreeSet<Label>> {
    let (cluster, own) = (&identity.cluster, &identity.node.name);
    if options.solo {
        let names = cluster.members.iter().map(|member| member.name.clone());
        return Ok(names.filter(|name| name != own).collect());
    }
    let names: BTreeSet<Label> = options.without.iter().cloned().collect();
    match barrier::exclusion_obstacle(&names, cluster, Some(own), state) {
        Some(why) if !names.is_empty() => Err(refused(why)),
        _ => Ok(names),
    }
}
