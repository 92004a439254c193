//! Executes a restore order, either in the command itself or, after an
//! interruption, in the next `firstboot run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use members::timestamp::now;

use super::build::{self, DataDirBuilder};
use super::{archive, swap};
use crate::barrier::{self, BarrierOutcome, LocalState, Proposal, RestoreSession};
use crate::data;
use crate::domain::{BootstrapMode, InitialCluster, Nonces, member_id};
use crate::exit::{not_ready, reason_of};
use crate::files;
use crate::identity::Identity;
use crate::journal::{
    self, ArchiveReason, ArchivedData, DataSwap, Event, Journal, NodeState, RestoreOrder,
};
use crate::lock::Lock;
use crate::output::say;
use crate::reason::ReasonId;
use crate::runtime::block_on;
use crate::{paths, start_permit};

/// The minimum time for which firstboot.service waits for the other members. After a power cut, not
/// all machines boot equally fast.
const MIN_SERVICE_WAIT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) enum RestoreOutcome {
    /// etcd may start with the new data.
    Swapped(String),
    /// The restore was abandoned for this reason, and etcd may start with its previous data.
    Abandoned(anyhow::Error),
    /// firstboot.service continues the restore, because the terminal was closed or, for this
    /// reason, because the restore can no longer be cancelled.
    HandedOver(Option<anyhow::Error>),
}

/// Resumes an interrupted restore, if there is one.
pub(crate) fn resume(identity: &Identity, journal: &mut Journal) -> Result<()> {
    let folder = Path::new(paths::RESTORE);
    // In earlier versions, etcd could replace this folder. If the folder does not belong to root,
    // its content may come from a program other than firstboot.
    if files::look(folder)?
        .is_some_and(|there| there.owner != files::ROOT || there.kind != files::Kind::Directory)
    {
        files::remove_all(folder)?;
    }
    if NodeState::of(journal).order.is_none() {
        return Ok(());
    }
    match execute(identity, journal, false)? {
        RestoreOutcome::Swapped(line) => {
            say(line);
            say(
                "warning: the halt of updates and the records of failed releases are now those of the restored data. \
                 `firstboot status` shows them",
            );
        }
        RestoreOutcome::Abandoned(why) => {
            say(format!(
                "the restore was abandoned, and etcd starts with its previous data: {why:#}"
            ));
        }
        RestoreOutcome::HandedOver(why) => {
            return Err(why.unwrap_or_else(|| anyhow!("a bug: firstboot.service handed over")));
        }
    }
    Ok(())
}

/// If no other member takes part in the restore, the proposal is known in advance. In this case,
/// builds the new data while etcd is still running. `ensure_data` later uses this data. If another
/// firstboot process has removed the data in the meantime, `ensure_data` builds it again.
pub(super) fn prebuild(identity: &Identity, state: &NodeState, order: &RestoreOrder) -> Result<()> {
    let (cluster, own) = (&identity.cluster, &identity.node.name);
    let alone = LocalState::of_order(state, cluster, own, order)
        .others()
        .next()
        .is_none();
    let (Some(builder), true, None) = (builder_of(identity, order)?, alone, &state.order) else {
        return Ok(());
    };
    let Ok(_lock) = Lock::take() else {
        return Ok(());
    };
    let proposal = Proposal::new(
        cluster,
        Nonces::from([(own.clone(), order.nonce)]),
        order.mode,
    );
    builder
        .build(&proposal)
        .inspect_err(|_| remove_restore_folder())
}

/// Returns the builder of the new data, or `None` for a rollback.
fn builder_of(identity: &Identity, order: &RestoreOrder) -> Result<Option<DataDirBuilder>> {
    let own = identity.member()?;
    Ok(order.source.clone().map(|source| DataDirBuilder {
        cluster: identity.cluster.clone(),
        own: own.clone(),
        source,
    }))
}

/// Executes the order, or continues it from the point at which an earlier run stopped.
pub(super) fn execute(
    identity: &Identity,
    journal: &mut Journal,
    at_terminal: bool,
) -> Result<RestoreOutcome> {
    let state = NodeState::of(journal);
    let order = state
        .order
        .clone()
        .context("a bug: this node has no restore order")?;
    start_permit::revoke_and_stop_etcd()?;
    let data_swap = match &state.swap {
        Some(begun) => begun.clone(),
        None => match agree_on_swap(identity, journal, &state, &order, at_terminal) {
            Ok(SwapAgreement::Agreed(data_swap)) => {
                journal.add(Event::SwapBegun(data_swap.clone()))?;
                *data_swap
            }
            Ok(SwapAgreement::HandedOver(why)) => return Ok(RestoreOutcome::HandedOver(why)),
            Ok(SwapAgreement::Abandoned(why)) => return give_up(journal, why),
            Err(why) => return give_up_unless_bound(journal, why),
        },
    };
    if let Err(error) = swap::finish(&data_swap) {
        swap::undo(&data_swap)
            .with_context(|| format!("{error:#}; cannot move the old data back either"))?;
        return give_up_unless_bound(journal, error);
    }
    journal.add(Event::SwapDone)?;
    remove_restore_folder();
    let old_data = data_swap
        .archive_to
        .map(|path| format!("; the old data is in {}", path.display()))
        .unwrap_or_default();
    Ok(RestoreOutcome::Swapped(format!(
        "this node now has the data of the cluster {:x}{old_data}",
        data_swap.cluster
    )))
}

/// Abandons the restore after a fault of this node. Fails instead if the restore is binding on this
/// node, so that the next run tries again.
fn give_up_unless_bound(journal: &mut Journal, why: anyhow::Error) -> Result<RestoreOutcome> {
    if NodeState::of(journal).bound {
        let why = reason_of(&why).map(|why| {
            format!(
                "{why}. This node has accepted the restore, and the other members may already have a quorum with the \
                 restored data, so etcd does not start with its previous data"
            )
        });
        return Err(not_ready(ReasonId::RestoreBinding.because(why.text)));
    }
    give_up(journal, why)
}

fn give_up(journal: &mut Journal, why: anyhow::Error) -> Result<RestoreOutcome> {
    journal.add(Event::RestoreAbandoned)?;
    remove_restore_folder();
    Ok(RestoreOutcome::Abandoned(why))
}

/// Removes the files of a restore that ended before it wrote its order to the journal.
pub(super) fn remove_leftovers(state: &NodeState) {
    if let Ok(_lock) = Lock::take() {
        remove_leftovers_locked(state);
    }
}

/// Does the same as [`remove_leftovers`] for a caller that holds the lock.
pub(super) fn remove_leftovers_locked(state: &NodeState) {
    if state.order.is_none() {
        remove_restore_folder();
    }
}

/// Removes the data that was built for abandoned proposals, and a downloaded snapshot. A file that
/// cannot be removed occupies space until the next restore removes it.
fn remove_restore_folder() {
    if let Err(error) = files::remove_all(Path::new(paths::RESTORE)) {
        say(format!("{error:#}"));
    }
}

/// The outcome of the agreement with the other members.
enum SwapAgreement {
    /// All members agreed on the order, and this node performs this swap.
    Agreed(Box<DataSwap>),
    /// The members did not agree, for this reason.
    Abandoned(anyhow::Error),
    /// firstboot.service continues the restore.
    HandedOver(Option<anyhow::Error>),
}

/// Waits at the barrier until all members agree on the order, until the order is abandoned, or
/// until firstboot.service continues the restore.
fn agree_on_swap(
    identity: &Identity,
    journal: &mut Journal,
    state: &NodeState,
    order: &RestoreOrder,
    at_terminal: bool,
) -> Result<SwapAgreement> {
    let local = LocalState::of_order(state, &identity.cluster, &identity.node.name, order);
    let builder = builder_of(identity, order)?;
    let archived = state.archived.clone();
    let ensure_data = {
        let (builder, archived) = (builder.clone(), archived.clone());
        move |proposal: &Proposal| ensure_data(builder.as_ref(), archived.as_ref(), proposal)
    };
    let patience = patience(order.until, journal.newest_time(), now(), at_terminal);
    let file = order
        .source
        .as_ref()
        .map(|source| (source.sha256, source.path.clone()));

    // When `block_on` returns, all connections and the peer port are closed. etcd needs this port
    // next.
    let agreed = block_on(async {
        let session =
            RestoreSession::new(Arc::new(ensure_data.clone()), file, patience, at_terminal)?;
        barrier::reach_agreement(identity, journal, local, Some(session)).await
    })?;
    let proposal = match agreed {
        BarrierOutcome::Agreed(proposal) => proposal,
        BarrierOutcome::Abandoned(why) => return Ok(SwapAgreement::Abandoned(why)),
        BarrierOutcome::HandedOver(why) => return Ok(SwapAgreement::HandedOver(why)),
        BarrierOutcome::Join(_) => {
            return Err(anyhow!(
                "a bug: a node with a restore order cannot join a cluster"
            ));
        }
    };
    // The members may have agreed on an older proposal than the one for which this node last
    // prepared data.
    ensure_data(&proposal)?;
    let archive_to = files::exists(Path::new(paths::DATA))?
        .then(|| journal::archive_path(ArchiveReason::Restore))
        .transpose()?;
    let data_swap = plan_swap(identity, order, archived, &proposal, archive_to)?;
    let who: Vec<&str> = proposal.nonces.keys().map(recipes::Label::as_str).collect();
    say(format!(
        "the members {} are ready to {}; the resulting cluster has the id {:x}",
        who.join(", "),
        order.mode,
        data_swap.cluster
    ));
    Ok(SwapAgreement::Agreed(Box::new(data_swap)))
}

/// Returns how long to wait for the other members. `until` is the deadline, `newest` is the time of
/// the newest entry in the journal, and `now` is the clock's time. After a boot, the clock may be
/// hours behind the newest entry.
fn patience(until: u64, newest: u64, now: u64, at_terminal: bool) -> Duration {
    let left = Duration::from_secs(until.saturating_sub(now.max(newest)));
    if at_terminal {
        left
    } else {
        left.max(MIN_SERVICE_WAIT).min(Duration::from_secs(1 << 20))
    }
}

/// Returns the swap that moves the data of this proposal into place, and the previous data to
/// `archive_to`.
fn plan_swap(
    identity: &Identity,
    order: &RestoreOrder,
    archived: Option<ArchivedData>,
    proposal: &Proposal,
    archive_to: Option<PathBuf>,
) -> Result<DataSwap> {
    let own = identity.member()?;
    Ok(match (order.mode, &order.source, archived) {
        (BootstrapMode::Restore { .. }, Some(source), _) => {
            let InitialCluster { token, members, .. } = InitialCluster::new_cluster(
                &identity.cluster,
                &proposal.token,
                proposal.nonces.keys(),
            );
            let member = Some(member_id(&own.peer_url(), &token));
            let (from, revision) = (
                build::folder(&token),
                build::revision(proposal.mode, source),
            );
            let data = Some(data::identity_of(&from)?);
            DataSwap {
                from,
                archive_to,
                token,
                members,
                cluster: proposal.cluster_id,
                member,
                revision,
                data,
            }
        }
        (
            BootstrapMode::Rollback { .. },
            None,
            Some(ArchivedData {
                path,
                initial_cluster: begun,
                cluster_id: cluster,
                member_id: member,
                revision,
                ..
            }),
        ) => {
            let InitialCluster { token, members, .. } = begun;
            let data = Some(data::identity_of(&path)?);
            DataSwap {
                from: path,
                archive_to,
                token,
                members,
                cluster,
                member,
                revision,
                data,
            }
        }
        (mode, ..) => return Err(anyhow!("a bug: the order to {mode} has no source")),
    })
}

/// Builds the data for a proposal, unless the data exists. For a rollback, checks the archived data
/// instead.
fn ensure_data(
    builder: Option<&DataDirBuilder>,
    archived: Option<&ArchivedData>,
    proposal: &Proposal,
) -> Result<()> {
    match (builder, archived) {
        (Some(builder), _) => builder.build(proposal),
        (None, Some(archived)) => archive::check(archived),
        (None, None) => Err(anyhow!(
            "a bug: the order has neither a snapshot nor archived data"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_does_not_extend_the_deadline() {
        let (until, newest) = (100_000, 99_500);
        let wait = |now| patience(until, newest, now, false).as_secs();
        assert_eq!(wait(99_700), 300);
        assert_eq!(wait(200_000), MIN_SERVICE_WAIT.as_secs());
        assert_eq!(wait(99_500 - 28_800), 500, "8 hours behind");
        assert_eq!(patience(until, newest, 200_000, true).as_secs(), 0);
    }
}
