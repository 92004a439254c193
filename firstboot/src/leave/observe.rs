//! Observes the cluster that this node leaves.

use anyhow::Result;
use members::keys::{KeyState, RESTART, TURN, UpdateTurn};

use super::plan::Observed;
use crate::etcd::{Client, Credentials, installed_credentials};
use crate::exit::reason_of;
use crate::identity::Identity;
use crate::journal::NodeState;
use crate::membership::{PeerClient, QUERY_TIMEOUT, query_others};
use crate::paths;
use crate::reason::{Reason, ReasonId};

/// Observes etcd on this node and on the other members.
pub(super) async fn observe(
    identity: &Identity,
    state: &NodeState,
    member: u64,
) -> Result<Observed> {
    let credentials = installed_credentials()?;
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let (peers, _) = query_others(identity, &peer_client, &credentials, QUERY_TIMEOUT).await;
    let own = async {
        let client = Client::connect(paths::OWN_CLIENT_URL, &credentials).await?;
        let leader = client.status().await?.leader;
        // Require a quorum, because a member list that is read without a quorum may be out of date.
        // The only voter of a cluster is a quorum by itself.
        client.healthy().await?;
        let voters = client
            .members(true)
            .await?
            .into_iter()
            .filter(|member| !member.is_learner);
        Ok::<_, anyhow::Error>((leader, voters.map(|member| member.id).collect::<Vec<_>>()))
    };
    let own = own.await.ok();
    // If etcd on this node does not work, the removal of its member does not reduce the number of
    // working voters, so the node need not wait for another member.
    let other_stops = match peers.first().filter(|_| own.is_some()) {
        Some(peer) => other_stops(identity, &peer.url, &credentials).await,
        None => None,
    };
    Ok(Observed {
        member,
        cluster: state.ids(&identity.node.name).cluster,
        leader: own
            .as_ref()
            .map(|(leader, _)| *leader)
            .filter(|leader| *leader != 0),
        alone: own.is_some_and(|(_, voters)| voters == [member]),
        peers,
        other_stops,
    })
}

/// Returns the reason why another member may stop its etcd at any time: the member has the turn, or
/// holds the restart lock. If firstboot cannot read the turn or the lock from etcd, returns the
/// error as the reason.
async fn other_stops(
    identity: &Identity,
    endpoint: &str,
    credentials: &Credentials,
) -> Option<Reason> {
    let own = &identity.node.name;
    let read = async {
        let client = Client::connect(endpoint, credentials).await?;
        let turn = KeyState::<UpdateTurn>::read(&client, TURN).await?.value;
        if let Some(turn) = turn.filter(|turn| turn.node != *own) {
            return Ok(Some(turn.reason()));
        }
        let restart = client.get(RESTART).await?;
        let restart = restart.filter(|holder| holder.value != own.as_str().as_bytes());
        Ok::<_, anyhow::Error>(restart.map(|_| {
            ReasonId::MembersUnhealthy.because("another member is restarting at the moment")
        }))
    };
    read.await.unwrap_or_else(|error| Some(reason_of(&error)))
}
