//! The bootstrap barrier: no cluster is ever bootstrapped twice. A node with an empty disk does not decide alone that
//! its cluster is new; it waits until all initial members are there, empty, and agree.
//!
//! `journal` says from its lines and the volume whether anything has begun; `listen` and `membership::peer_client` carry
//! the protocol; `decide` is the rule, and `model` its proof.

mod decide;
mod epoch;
mod exclusion;
mod file_body;
mod memory;
#[cfg(test)]
mod model;
mod peer_tracker;
mod restore_session;
mod server;
mod start_order;
mod unproven;

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use recipes::Label;
use recipes::cluster::Member;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub(crate) use decide::LocalState;
pub(crate) use epoch::Epoch;
pub(crate) use exclusion::{objection, too_late};
pub(crate) use restore_session::{BarrierOutcome, RestoreSession};

use crate::domain::{DiskId, Start};
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::{self, DiskState, Event, Journal, MembershipIntent, NodeState, archive_data, classify_disk};
use crate::membership::{PeerClient, ProbeResult, peer_tls, protocol};
use crate::output::say;
use crate::rebuild::{JoinProgress, Rebuild};
use crate::{data, duplicate, paths, release};
use decide::{Action, decide};
use peer_tracker::PeerTracker;
use restore_session::Cancellation;
use server::{ChangeNotifier, Listener};

/// Between two questions to one member, unless there is news.
const PAUSE: Duration = Duration::from_millis(300);

/// Returns when etcd may start, with what it is to begin as. It waits for as long as that takes.
///
/// # Errors
/// Refused where there is data that is not known.
pub(crate) fn run_barrier(identity: &Identity, journal: &mut Journal) -> Result<Start> {
    let state = NodeState::of(journal);
    if state.intent == MembershipIntent::Rejoining {
        release::halt()?;
    }
    let disk_id = match stand(identity, &state)? {
        DiskState::Existing { start, begun } => {
            if let Some(known) = begun {
                journal.add(Event::DataBegun(known))?;
            }
            // An operator may have moved the data to a new volume by hand.
            state.disk_id.map_or(Ok(()), journal::write_disk_id)?;
            return Ok(start);
        }
        DiskState::RetryFirstStart { start, aside } => {
            if aside {
                archive_partial_data(journal)?;
            }
            return Ok(start);
        }
        DiskState::Lost(why) => {
            duplicate::until_missed(identity, &state, &why)?;
            archive_data("lost", journal)?;
            None
        }
        DiskState::Fresh { disk_id, aside } => {
            match (aside, state.intent == MembershipIntent::Rejoining) {
                (false, _) => {}
                (true, true) => archive_data("removed", journal)?,
                (true, false) => archive_partial_data(journal)?,
            }
            disk_id
        }
        DiskState::Foreign(why) => {
            return Err(refused(format!("{} {why}, and so is left alone. Move it away to start anew", paths::DATA)));
        }
    };
    begin_or_join(identity, journal, disk_id)
}

/// Where this node stands. An etcd that was let go in this boot and is not on the member's data is stopped.
fn stand(identity: &Identity, state: &NodeState) -> Result<DiskState> {
    let expected = state.expected(&identity.node.name);
    // What runs was judged when it started, and its data cannot be judged while it writes.
    if release::runs()? && data::is_in_place(&expected)? {
        let start = state.begun.clone().context("a bug: etcd's data is known, and it was never to begin")?;
        return Ok(DiskState::Existing { start, begun: None });
    }
    let judge = || -> Result<DiskState> {
        let (contents, verdict) = data::look(&expected)?;
        Ok(classify_disk(state, contents, verdict, journal::disk_id_file(state.disk_id)?))
    };
    let standing = judge()?;
    if matches!(standing, DiskState::Existing { .. }) {
        return Ok(standing);
    }
    release::withdraw()?;
    judge()
}

/// The way of a node without data: it begins a cluster with all others, or joins the one that lives.
fn begin_or_join(identity: &Identity, journal: &mut Journal, disk_id: Option<DiskId>) -> Result<Start> {
    let disk_id = match disk_id {
        // Whoever began it may have been killed before the mark was on the disk.
        Some(disk_id) => journal::write_disk_id(disk_id).map(|()| disk_id)?,
        None => init_disk_id(journal)?,
    };
    let memory = LocalState::of_new(&NodeState::of(journal), &identity.cluster, &identity.node.name, disk_id);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let agreed = runtime.block_on(negotiate(identity, journal, memory, None))?;
    // With it the port is closed, and every connection to it: etcd needs it.
    drop(runtime);
    match agreed {
        BarrierOutcome::Join(start) => Ok(start),
        BarrierOutcome::Agreed(epoch) => {
            let start = begin(identity, journal, &epoch)?;
            start_order::wait(identity, &epoch)?;
            Ok(start)
        }
        BarrierOutcome::Abandoned(why) => Err(why),
        BarrierOutcome::HandedOver => bail!("a bug: nobody may leave the bootstrap barrier"),
    }
}

fn archive_partial_data(journal: &mut Journal) -> Result<()> {
    say("etcd's first start was cut short, and it would refuse what that left");
    archive_data("half-born", journal)
}

fn init_disk_id(journal: &mut Journal) -> Result<DiskId> {
    let disk_id = DiskId::draw()?;
    journal.add(Event::Life { disk_id })?;
    journal::write_disk_id(disk_id)?;
    Ok(disk_id)
}

/// Writes down as what etcd begins.
fn begin(identity: &Identity, journal: &mut Journal, epoch: &Epoch) -> Result<Start> {
    let start = Start::new_cluster(&identity.cluster, &epoch.token, epoch.disk_ids.keys());
    let count = start.members.len();
    say(format!("all {count} initial members agree: a new cluster, token {}", epoch.token));
    let Start { token, members, .. } = start.clone();
    journal.add(Event::Bootstrap { token, members })?;
    Ok(start)
}

/// Asks, decides, writes down, says so; again and again until it is clear what etcd may begin with. Who was told
/// something has an errand beside.
pub(crate) async fn negotiate(
    identity: &Identity,
    journal: &mut Journal,
    mut memory: LocalState,
    mut session: Option<RestoreSession>,
) -> Result<BarrierOutcome> {
    let (cluster, node) = (&identity.cluster, &identity.node);
    let peer_client = PeerClient::new(cluster, &identity.tls)?;
    let listener = Listener::open(
        node.address,
        peer_tls::server(&identity.tls)?,
        protocol::write(&cluster.name, cluster.etcd.version, &memory.announcement()),
    )
    .await?;
    if let Some((digest, path)) = session.as_ref().and_then(|session| session.file.clone()) {
        listener.offer(digest, path);
    }
    let mut tracker = PeerTracker::default();
    let mut answers = ask_all(&peer_client, identity, &listener);
    let mut rebuild = Rebuild::new(identity, peer_client.clone());
    let mut logged = String::new();
    loop {
        let cancelled = match &mut session {
            None => {
                answers.hear(&mut tracker).await;
                None
            }
            Some(session) => tokio::select! {
                () = answers.hear(&mut tracker) => None,
                why = session.cancelled() => Some(why),
            },
        };
        match cancelled {
            None => {}
            Some(Cancellation::HandOver) => return Ok(BarrierOutcome::HandedOver),
            Some(Cancellation::GiveUp(why)) => {
                return Ok(BarrierOutcome::Abandoned(not_ready(format!("{why}. Last: {logged}"))));
            }
        }
        let action = decide(&memory, &tracker.views());
        match action {
            Action::BeReady(disk_ids, mode) => {
                let epoch = Epoch::new(cluster, disk_ids.clone(), mode);
                if let Some(session) = &session
                    && let Err(why) = session.prepare(&epoch).await
                {
                    return Ok(BarrierOutcome::Abandoned(why));
                }
                // First on the disk, then told: who was ready stays ready.
                journal.add(Event::Ready { disk_ids, mode })?;
                memory.epochs.push(epoch);
                listener.say(protocol::write(&cluster.name, cluster.etcd.version, &memory.announcement()));
            }
            Action::Start(id) => {
                let epoch = memory.epochs.iter().find(|epoch| epoch.id == id).cloned();
                let epoch = epoch.with_context(|| format!("a bug: never ready in the epoch {id}"))?;
                // Whoever has not heard yet would wait for etcd's answer instead. It costs them time, no more.
                let others = cluster.members.iter().filter(|member| memory.others().any(|name| *name == member.name));
                listener.wait_until_acked(&others.map(|member| member.address.into()).collect(), PAUSE).await;
                return Ok(BarrierOutcome::Agreed(epoch));
            }
            Action::GiveUp(name) => return Ok(BarrierOutcome::Abandoned(refused(tracker.objection(&memory, &name)))),
            Action::Wait | Action::Alive => {
                let mut now = tracker.describe(&memory, &action);
                if action == Action::Alive {
                    match rebuild.round(identity, journal, &tracker.live_clusters()).await? {
                        JoinProgress::Join(start) => return Ok(BarrierOutcome::Join(start)),
                        JoinProgress::Wait(why) => now = format!("{now}. It is to join that one: {why}"),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                if now != logged {
                    say(&now);
                    logged = now;
                }
            }
        }
    }
}

/// What the others answer, as it comes.
#[derive(Debug)]
struct Answers {
    answers: mpsc::Receiver<(Label, ProbeResult)>,
    /// They are asked for as long as somebody listens here.
    _asking: JoinSet<()>,
}

impl Answers {
    /// Waits for an answer, and takes in all that are there.
    async fn hear(&mut self, tracker: &mut PeerTracker) {
        let mut next = self.answers.recv().await;
        while let Some((name, heard)) = next {
            tracker.record(&name, heard, SystemTime::now());
            next = self.answers.try_recv().ok();
        }
    }
}

/// Asks all others, each in its own time: one that does not answer holds up nobody.
fn ask_all(peer_client: &PeerClient, identity: &Identity, listener: &Listener) -> Answers {
    let mut asking = JoinSet::new();
    let (send, answers) = mpsc::channel(1);
    for member in identity.cluster.members.iter().filter(|member| member.name != identity.node.name) {
        asking.spawn(keep_asking(peer_client.clone(), member.clone(), listener.notifier(), send.clone()));
    }
    Answers { answers, _asking: asking }
}

/// Asks one member again and again: after a pause, or at once when it may have something new to say or to hear.
async fn keep_asking(
    peer_client: PeerClient,
    member: Member,
    mut notifier: watch::Receiver<ChangeNotifier>,
    send: mpsc::Sender<(Label, ProbeResult)>,
) {
    let mut delivered = 0;
    loop {
        let ChangeNotifier { answers, news, .. } = notifier.borrow_and_update().clone();
        let heard = peer_client.ask(&member, answers > delivered).await;
        if matches!(heard, ProbeResult::State(_)) {
            delivered = answers;
        }
        if send.send((member.name.clone(), heard)).await.is_err() {
            return;
        }
        let rung = notifier.wait_for(|notifier| notifier.answers > answers || notifier.news > news);
        // The time is over, or it was rung: both say the same.
        let _ = tokio::time::timeout(PAUSE, rung).await;
    }
}
