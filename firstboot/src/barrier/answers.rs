//! Probes each of the other members repeatedly.

use std::time::{Duration, SystemTime};

use recipes::Label;
use recipes::cluster::Member;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::peer_tracker::PeerTracker;
use super::server::{ChangeCounters, Listener};
use crate::identity::Identity;
use crate::membership::{PeerClient, ProbeResult};

/// The pause between two probes of one member. The pause ends early if this node or another member
/// changes its state.
pub(super) const PROBE_PAUSE: Duration = Duration::from_millis(300);

/// The answers of the other members, in the order in which they arrive.
#[derive(Debug)]
pub(super) struct Answers {
    answers: mpsc::Receiver<(Label, ProbeResult)>,
    /// The tasks that probe the other members. Dropping this set aborts the tasks.
    _asking: JoinSet<()>,
}

impl Answers {
    /// Waits for an answer, and records all answers that have arrived.
    pub(super) async fn record_next(&mut self, tracker: &mut PeerTracker) {
        let mut next = self.answers.recv().await;
        while let Some((name, heard)) = next {
            tracker.record(&name, heard, SystemTime::now());
            next = self.answers.try_recv().ok();
        }
    }
}

/// Probes all other members, each in its own task, so that a member that does not answer does not
/// delay the others.
pub(super) fn probe_all(
    peer_client: &PeerClient,
    identity: &Identity,
    listener: &Listener,
) -> Answers {
    let mut asking = JoinSet::new();
    let (send, answers) = mpsc::channel(1);
    for member in identity
        .cluster
        .members
        .iter()
        .filter(|member| member.name != identity.node.name)
    {
        asking.spawn(probe_repeatedly(
            peer_client.clone(),
            member.clone(),
            listener.notifier(),
            send.clone(),
        ));
    }
    Answers {
        answers,
        _asking: asking,
    }
}

/// Probes one member repeatedly. Probes again after a pause, or immediately when this node or
/// another member has changed its state.
async fn probe_repeatedly(
    peer_client: PeerClient,
    member: Member,
    mut notifier: watch::Receiver<ChangeCounters>,
    send: mpsc::Sender<(Label, ProbeResult)>,
) {
    let mut delivered = 0;
    loop {
        let ChangeCounters { answers, news, .. } = notifier.borrow_and_update().clone();
        let heard = peer_client.probe(&member, answers > delivered).await;
        if matches!(heard, ProbeResult::State(_)) {
            delivered = answers;
        }
        if send.send((member.name.clone(), heard)).await.is_err() {
            return;
        }
        let woken =
            notifier.wait_for(|notifier| notifier.answers > answers || notifier.news > news);
        // Wait until the pause is over or a notification arrives.
        let _ = tokio::time::timeout(PROBE_PAUSE, woken).await;
    }
}
