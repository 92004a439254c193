//! Promotes this node's learner to a voter.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::backoff::pause;
use crate::etcd::{Client, Credentials};
use crate::identity::Identity;
use crate::journal::{Event, Journal, NodeState};
use crate::membership::{PeerClient, PeerState, ProbeResult};
use crate::output::say;

/// The time limit for a call to one member. The limit is shorter than the usual limit, because the
/// member may be down.
const ANSWER: Duration = Duration::from_secs(2);

/// If this node's member is a learner according to the journal, records that firstboot promotes the
/// member next, and returns the member's id.
pub(crate) fn record_promotion(journal: &mut Journal) -> Result<Option<u64>> {
    let state = NodeState::of(journal);
    let Some(member) = state.added_member_id.filter(|_| !state.was_healthy) else {
        return Ok(None);
    };
    journal.record_next_step(
        Event::Promote { member },
        "etcd starts as a learner; firstboot promotes the learner when it is in sync",
    )?;
    Ok(Some(member))
}

/// Promotes this node's learner, and waits until the node is a voter.
///
/// The function does not wait until etcd on this node serves clients. etcd serves clients only
/// after it has published itself. If the publication fails while etcd receives the leader's
/// snapshot, etcd 3.5 waits seven seconds before it retries the publication. etcd must be running
/// before the promotion, because a voter that is down weakens the quorum. An answer on etcd's peer
/// port shows that etcd is running.
pub(crate) async fn promote_learner(
    identity: &Identity,
    credentials: &Credentials,
    member: u64,
) -> Result<()> {
    let own = identity.member()?;
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let begun = Instant::now();
    loop {
        let runs = matches!(
            peer_client.probe(own, false).await,
            ProbeResult::State(PeerState::Etcd { .. })
        );
        if runs && promote(identity, credentials, member).await.is_ok() {
            return Ok(());
        }
        pause(begun).await;
    }
}

/// Requests the promotion from each of the other members in turn, until a request succeeds. A
/// member forwards the request to the leader, which refuses the request until the learner is in
/// sync. A member that is already a voter counts as promoted.
///
/// # Errors
/// If no request succeeds, returns the last member's error. After any error, another attempt may
/// succeed.
async fn promote(identity: &Identity, credentials: &Credentials, member: u64) -> Result<()> {
    let mut last = Ok(());
    for other in identity
        .cluster
        .members
        .iter()
        .filter(|other| other.name != identity.node.name)
    {
        let asked = tokio::time::timeout(ANSWER, async {
            Client::connect(&other.client_url(), credentials)
                .await?
                .promote(member)
                .await
        });
        match asked.await {
            Ok(Ok(())) => {
                say("the data is in sync, and this node is now a voter");
                return Ok(());
            }
            // ErrMemberNotLearner means that etcd executed an earlier request whose answer was
            // lost.
            Ok(Err(error))
                if error
                    .to_string()
                    .ends_with("can only promote a learner member") =>
            {
                return Ok(());
            }
            Ok(Err(error)) => last = Err(error),
            Err(_) => last = Err(anyhow!("{} did not answer", other.name)),
        }
    }
    last
}
