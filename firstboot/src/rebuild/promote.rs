//! A learner gets its vote.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::backoff::pause;
use crate::etcd::{Client, Credentials};
use crate::identity::Identity;
use crate::journal::{Event, Journal, NodeState};
use crate::membership::{PeerClient, PeerState, ProbeResult};
use crate::output::say;

/// A voter that is down costs so much, not the patience of a call.
const ANSWER: Duration = Duration::from_secs(2);

/// The member that this node was added as, if it is not known to have a vote; that it shall get one is written down.
pub(crate) fn learner(journal: &mut Journal) -> Result<Option<u64>> {
    let state = NodeState::of(journal);
    let Some(member) = state.added.filter(|_| !state.healthy) else { return Ok(None) };
    journal
        .record_intent(Event::Promote { member }, "etcd starts as a learner; it gets its vote when it is in sync")?;
    Ok(Some(member))
}

/// Returns when this node has its vote.
///
/// The others are asked whether or not etcd here serves clients: it does so only once it has published itself, and 3.5
/// says again after seven seconds what it said in vain while the leader's snapshot came. What must be there is etcd
/// itself, which serves its peers from its start on: the vote of one that is dead again would be no help to a quorum.
pub(crate) async fn vote(identity: &Identity, credentials: &Credentials, member: u64) -> Result<()> {
    let own = identity.cluster.member(&identity.node.name).context("the member vanished from the cluster document")?;
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let begun = Instant::now();
    loop {
        let runs = matches!(peer_client.ask(own, false).await, ProbeResult::State(PeerState::Etcd { .. }));
        if runs && promote(identity, credentials, member).await.is_ok() {
            return Ok(());
        }
        pause(begun).await;
    }
}

/// Any voter passes the request on to the leader, which refuses it until the learner is in sync; who is a voter already
/// is done.
///
/// # Errors
/// Whatever the last voter said; trying again is right for all of it.
async fn promote(identity: &Identity, credentials: &Credentials, member: u64) -> Result<()> {
    let mut last = Ok(());
    for other in identity.cluster.members.iter().filter(|other| other.name != identity.node.name) {
        let asked = tokio::time::timeout(ANSWER, async {
            Client::connect(&other.client_url(), credentials).await?.promote(member).await
        });
        match asked.await {
            Ok(Ok(())) => {
                say("in sync: this node has its vote");
                return Ok(());
            }
            // ErrMemberNotLearner: an earlier request was done, though its answer was lost.
            Ok(Err(error)) if error.to_string().ends_with("can only promote a learner member") => return Ok(()),
            Ok(Err(error)) => last = Err(error),
            Err(_) => last = Err(anyhow!("{} does not answer", other.name)),
        }
    }
    last
}
