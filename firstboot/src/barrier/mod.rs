//! The bootstrap barrier ensures that no cluster is ever bootstrapped twice. A node with an empty
//! disk does not decide alone that its cluster is new, but waits until all initial members are
//! reachable, have empty disks, and agree.
//!
//! `journal` determines from its events and from the volume whether this node's cluster has been
//! bootstrapped. `server` and `membership::peer_client` implement the protocol. `decide` contains
//! the rule, and `model` checks that the rule is safe.

mod answers;
mod decide;
mod exclusion;
mod file_body;
mod local_state;
#[cfg(test)]
pub(crate) mod model;
mod peer_tracker;
mod proposal;
mod restore_session;
mod running_cluster;
mod server;
mod start_order;
mod unverified_connections;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub(crate) use decide::LocalState;
pub(crate) use exclusion::{exclusion_obstacle, too_late};
pub(crate) use proposal::Proposal;
pub(crate) use restore_session::{BarrierOutcome, RestoreSession};
pub(crate) use running_cluster::refuse_restore_beside_running_cluster;

use crate::data::{DataDirState, UnusableData};
use crate::domain::{DiskId, InitialCluster};
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::{
    self, ArchiveReason, DiskState, Event, Journal, MembershipIntent, NodeState, archive_data,
    classify_disk, record_wal,
};
use crate::membership::{PeerClient, peer_tls, protocol};
use crate::output::say;
use crate::reason::ReasonId;
use crate::rebuild::{JoinProgress, Rebuild};
use crate::runtime::block_on;
use crate::{data, duplicate, paths, rotation, start_permit};
use answers::{Answers, probe_all};
use decide::{Action, decide};
use peer_tracker::PeerTracker;
use restore_session::Cancellation;
use running_cluster::refuse_running_cluster;
use server::Listener;

/// The interval at which a waiting node checks whether the other members still trust its
/// certificates.
const TRUST_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The pause between two steps of a rebuild.
const REBUILD_PAUSE: Duration = Duration::from_millis(300);
/// The time limit for the other members to receive this node's last announcement.
const ACK_TIMEOUT: Duration = Duration::from_millis(300);

/// Archives data that etcd must not use, and waits, without a time limit, until etcd may start.
/// Returns etcd's start parameters.
///
/// # Errors
/// Returns a refusal if the data directory contains data that the journal does not record.
pub(crate) fn run_barrier(identity: &Identity, journal: &mut Journal) -> Result<InitialCluster> {
    let state = NodeState::of(journal);
    if state.intent == MembershipIntent::Rejoining {
        start_permit::revoke_and_stop_etcd()?;
    }
    let disk_id = match disk_state(identity, &state)? {
        DiskState::Existing {
            start,
            new_identity,
        } => {
            if let Some(known) = new_identity {
                let found = DataDirState::at(Path::new(paths::DATA))?;
                record_wal(journal, known, found.wal.map_err(anyhow::Error::msg)?)?;
            }
            // Write the disk id again, because an operator may have moved the data to a new volume
            // manually.
            state.disk_id.map_or(Ok(()), journal::write_disk_id)?;
            return Ok(start);
        }
        DiskState::RetryFirstStart {
            start,
            has_data_to_archive,
        } => {
            if has_data_to_archive {
                archive_partial_data(journal)?;
            }
            return Ok(start);
        }
        DiskState::UnusableData(why) => {
            duplicate::wait_until_replaceable(identity, &state, &why)?;
            archive_data(ArchiveReason::Unusable, journal)?;
            None
        }
        DiskState::NoData {
            disk_id,
            has_data_to_archive,
        } => {
            match (
                has_data_to_archive,
                state.intent == MembershipIntent::Rejoining,
            ) {
                (false, _) => {}
                (true, true) => archive_data(ArchiveReason::Removed, journal)?,
                (true, false) => archive_partial_data(journal)?,
            }
            disk_id
        }
        DiskState::UnrecordedData(why) => {
            return Err(refused(
                why.reason().map(|why| format!("{}: {why}", paths::DATA)),
            ));
        }
    };
    bootstrap_or_join(identity, journal, disk_id)
}

/// Classifies the disk. Stops etcd, unless the member's data is in place.
fn disk_state(identity: &Identity, state: &NodeState) -> Result<DiskState> {
    let expected = state.recorded_data(&identity.node.name);
    // The guard checked the data of a running etcd when etcd started. firstboot cannot check the
    // data while etcd writes to it.
    if start_permit::etcd_runs()? && data::is_in_place(&expected)? {
        let start = state.initial_cluster.clone().context(
            "a bug: etcd's data is recorded, but the journal does not record a start of etcd",
        )?;
        return Ok(DiskState::Existing {
            start,
            new_identity: None,
        });
    }
    let classify = || -> Result<DiskState> {
        let (contents, check) = data::inspect(&expected)?;
        Ok(classify_disk(
            state,
            contents,
            check,
            journal::compare_disk_id_file(state.disk_id)?,
        ))
    };
    let disk = classify()?;
    if matches!(disk, DiskState::Existing { .. }) {
        return Ok(disk);
    }
    start_permit::revoke_if_granted()?;
    classify()
}

/// Lets a node without data bootstrap the cluster together with all other members, or join the
/// running cluster.
fn bootstrap_or_join(
    identity: &Identity,
    journal: &mut Journal,
    disk_id: Option<DiskId>,
) -> Result<InitialCluster> {
    if NodeState::of(journal).was_member {
        duplicate::refuse_only_member(identity, &UnusableData::Deleted)?;
    }
    let disk_id = match disk_id {
        // Write the disk id file, because an earlier run may have been killed before it wrote the
        // file.
        Some(disk_id) => journal::write_disk_id(disk_id).map(|()| disk_id)?,
        None => journal::init_disk_id(journal)?,
    };
    let local = LocalState::of_new(
        &NodeState::of(journal),
        &identity.cluster,
        &identity.node.name,
        disk_id,
    );
    // When `block_on` returns, all connections and the peer port are closed. etcd needs this port
    // next.
    match block_on(reach_agreement(identity, journal, local, None))? {
        BarrierOutcome::Join(start) => Ok(start),
        BarrierOutcome::Agreed(proposal) => {
            let start = record_bootstrap(identity, journal, &proposal)?;
            start_order::wait(identity, &proposal)?;
            Ok(start)
        }
        BarrierOutcome::Abandoned(why) => Err(why),
        BarrierOutcome::HandedOver(_) => {
            bail!(
                "a bug: the bootstrap barrier handed over a restore, but no restore was in progress"
            )
        }
    }
}

fn archive_partial_data(journal: &mut Journal) -> Result<()> {
    say("etcd's first start was interrupted; archiving the partial data, which etcd would refuse");
    archive_data(ArchiveReason::FirstStartInterrupted, journal)
}

/// Writes to the journal the parameters with which etcd bootstraps its cluster, and returns them.
fn record_bootstrap(
    identity: &Identity,
    journal: &mut Journal,
    proposal: &Proposal,
) -> Result<InitialCluster> {
    let start =
        InitialCluster::new_cluster(&identity.cluster, &proposal.token, proposal.nonces.keys());
    let count = start.members.len();
    say(format!(
        "all {count} initial members agree on a new cluster with the token {}",
        proposal.token
    ));
    let InitialCluster { token, members, .. } = start.clone();
    journal.add(Event::Bootstrap { token, members })?;
    Ok(start)
}

/// Repeats the following steps until the outcome of the barrier is known: probe the other members,
/// decide on the next action, write the decision to the journal, and announce the decision. If the
/// node has a restore order, `session` carries out the order.
pub(crate) async fn reach_agreement(
    identity: &Identity,
    journal: &mut Journal,
    mut local: LocalState,
    mut session: Option<RestoreSession>,
) -> Result<BarrierOutcome> {
    let cluster = &identity.cluster;
    let peer_client = PeerClient::new(cluster, &identity.tls)?;
    let listener = open_listener(identity, &local, session.as_ref()).await?;
    let mut tracker = PeerTracker::default();
    let mut answers = probe_all(&peer_client, identity, &listener);
    let mut rebuild = Rebuild::new(identity, peer_client.clone());
    let mut logged = String::new();
    let mut trust_checked = Instant::now();
    loop {
        let bound = NodeState::of(journal).bound;
        let cancelled = wait_for_answer(&mut answers, &mut tracker, session.as_mut(), bound).await;
        if let Some(why) = cancelled {
            return Ok(cancelled_outcome(why, &logged, bound));
        }
        match decide(&local, &tracker.observations()) {
            Action::AcceptProposal(nonces, mode) => {
                let proposal = Proposal::new(cluster, nonces.clone(), mode);
                // After the node has accepted the proposal, it may be too late to cancel.
                if let Some(session) = &mut session
                    && let Some(why) = session.ensure_data(&proposal, bound).await?
                {
                    return Ok(cancelled_outcome(why, &logged, bound));
                }
                // Write the decision to the disk before announcing it, so that a node never forgets
                // that it accepted the proposal.
                journal.add(Event::ProposalAccepted { nonces, mode })?;
                local.proposals.push(proposal);
                listener.announce(announcement(identity, &local));
            }
            Action::CarryOut(id) => {
                let proposal = accepted_proposal(&local, id)?;
                refuse_running_cluster(cluster, &listener, session.as_ref()).await?;
                wait_until_others_know(identity, &local, &listener).await;
                return Ok(BarrierOutcome::Agreed(proposal));
            }
            Action::AbandonOrder(name) => {
                let cluster = NodeState::of(journal).cluster_id;
                let why = tracker.abandon_reason(&local, &name, cluster);
                return Ok(BarrierOutcome::Abandoned(refused(why)));
            }
            action @ (Action::Wait | Action::JoinRunningCluster) => {
                check_trust(identity, &mut trust_checked).await?;
                let mut now = tracker.describe(&local, &action);
                if action == Action::JoinRunningCluster {
                    let live_clusters = tracker.live_clusters();
                    match rebuild.advance(identity, journal, &live_clusters).await? {
                        JoinProgress::Join(start) => return Ok(BarrierOutcome::Join(start)),
                        JoinProgress::Wait(why) => {
                            now = why.map(|why| cannot_join(why, &now.text));
                        }
                    }
                    tokio::time::sleep(REBUILD_PAUSE).await;
                }
                let line = now.to_string();
                if line != logged {
                    say(&line);
                    logged = line;
                }
            }
        }
    }
}

/// Waits for a member's answer. Returns early if a signal or the deadline ends the restore session.
async fn wait_for_answer(
    answers: &mut Answers,
    tracker: &mut PeerTracker,
    session: Option<&mut RestoreSession>,
    bound: bool,
) -> Option<Cancellation> {
    let Some(session) = session else {
        answers.record_next(tracker).await;
        return None;
    };
    // Check the cancellation first, because the terminal may have been closed while the data was
    // being prepared.
    tokio::select! {
        biased;
        why = session.cancelled(bound) => Some(why),
        () = answers.record_next(tracker) => None,
    }
}

/// Opens the peer port, on which the node announces its state and offers the session's snapshot.
async fn open_listener(
    identity: &Identity,
    local: &LocalState,
    session: Option<&RestoreSession>,
) -> Result<Listener> {
    let listener = Listener::open(
        identity.node.address,
        peer_tls::server(&identity.tls)?,
        announcement(identity, local),
    )
    .await?;
    if let Some((digest, path)) = session.and_then(|session| session.file.clone()) {
        listener.offer(digest, path);
    }
    Ok(listener)
}

fn announcement(identity: &Identity, local: &LocalState) -> Vec<u8> {
    let cluster = &identity.cluster;
    protocol::write(&cluster.name, cluster.etcd.version, &local.announcement())
}

fn cancelled_outcome(why: Cancellation, last_status: &str, bound: bool) -> BarrierOutcome {
    match why {
        Cancellation::HandOver => BarrierOutcome::HandedOver(None),
        Cancellation::Abandon(why) if bound => {
            let why = format!(
                "{why}, but this node has accepted the restore, and the other members may already have a quorum with the \
                 restored data. etcd does not start with its previous data, and firstboot.service continues the restore. \
                 Last status: {last_status}"
            );
            let why = not_ready(ReasonId::RestoreBinding.because(why));
            BarrierOutcome::HandedOver(Some(why))
        }
        Cancellation::Abandon(why) => {
            let why = format!("{why}. Last status: {last_status}");
            BarrierOutcome::Abandoned(not_ready(ReasonId::RestoreCancelled.because(why)))
        }
    }
}

/// Returns the accepted proposal that has this id.
fn accepted_proposal(local: &LocalState, id: recipes::Sha256) -> Result<Proposal> {
    let proposal = local
        .proposals
        .iter()
        .find(|proposal| proposal.id == id)
        .cloned();
    proposal.with_context(|| format!("a bug: this node never accepted the proposal {id}"))
}

/// Waits until the other members have received this node's state, but no longer than
/// [`ACK_TIMEOUT`]. A member that has not received the state must wait until etcd on this node
/// answers, which is safe but slower.
async fn wait_until_others_know(identity: &Identity, local: &LocalState, listener: &Listener) {
    let others = identity
        .cluster
        .members
        .iter()
        .filter(|member| local.others().any(|name| *name == member.name));
    listener
        .wait_until_acked(
            &others.map(|member| member.address.into()).collect(),
            ACK_TIMEOUT,
        )
        .await;
}

/// Returns an error, which ends the wait, if another member no longer trusts this node's
/// certificates (see [`rotation::is_left_behind`]).
async fn check_trust(identity: &Identity, checked: &mut Instant) -> Result<()> {
    if checked.elapsed() < TRUST_CHECK_INTERVAL {
        return Ok(());
    }
    if rotation::is_left_behind(identity).await? {
        return Err(not_ready(ReasonId::CertificatesOutdated.because(
            "another member no longer trusts the CA of this node's certificates; firstboot restarts, and then installs the certificates from the node document",
        )));
    }
    *checked = Instant::now();
    Ok(())
}

fn cannot_join(why: &str, status: &str) -> String {
    format!("this node cannot join the running cluster yet: {why} ({status})")
}
