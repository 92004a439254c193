//! Determines the order in which new members start. An etcd server that bootstraps a cluster first
//! asks its peers for their member list, which shows whether this server has already been
//! bootstrapped. The server asks one peer after the other, in the order of the peers' URLs, and
//! waits up to a second for each answer (server/etcdserver/cluster_util.go,
//! getClusterFromRemotePeers). Until the peers have answered or timed out, etcd does not answer its
//! peers itself, so members that start at the same instant wait until their requests to each other
//! time out. Therefore, one member starts first: the member that all other members ask first. The
//! other members start once this member's port is open.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use recipes::cluster::Member;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::proposal::Proposal;
use crate::identity::Identity;
use crate::membership::{PeerClient, PeerState, ProbeResult};

/// The maximum time for which the other members wait until the first member has opened its port.
/// Without a start order, the members would wait for each other for just as long.
const HEAD_START: Duration = Duration::from_secs(1);
/// The pause between two probes.
const PAUSE: Duration = Duration::from_millis(5);
/// If a probe has been neither answered nor refused after this time, the port is open, but etcd
/// does not answer yet. etcd opens the port tens of milliseconds before it answers.
const PORT_OPEN_TIMEOUT: Duration = Duration::from_millis(10);

/// Waits until the first member has opened its port, unless this node is the first member. The
/// order only saves time; correctness does not depend on it.
pub(super) fn wait(identity: &Identity, proposal: &Proposal) -> Result<()> {
    let members = identity
        .cluster
        .members
        .iter()
        .filter(|member| proposal.nonces.contains_key(&member.name));
    let first = members.min_by_key(|member| member.peer_url());
    let Some(first) = first.filter(|first| first.name != identity.node.name) else {
        return Ok(());
    };
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if let Ok(Some(question)) =
        runtime.block_on(async { timeout(HEAD_START, started(&peer_client, first)).await })
    {
        // The thread keeps the connection open until etcd answers, because etcd would log a
        // connection that is closed early.
        thread::spawn(move || runtime.block_on(question));
    }
    Ok(())
}

/// Waits until etcd on the first member has opened its port. Returns the last probe if etcd has not
/// answered that probe yet.
async fn started(peer_client: &PeerClient, first: &Member) -> Option<JoinHandle<ProbeResult>> {
    // First, wait until firstboot on the first member has closed its port.
    loop {
        match peer_client.probe(first, false).await {
            ProbeResult::Unreachable(_) => break,
            ProbeResult::State(PeerState::Etcd { .. }) => return None,
            _ => sleep(PAUSE).await,
        }
    }
    loop {
        let (peer_client, first) = (peer_client.clone(), first.clone());
        let mut question = tokio::spawn(async move { peer_client.probe(&first, false).await });
        match timeout(PORT_OPEN_TIMEOUT, &mut question).await {
            Err(_) => return Some(question),
            Ok(Ok(ProbeResult::State(PeerState::Etcd { .. }))) => return None,
            Ok(_) => sleep(PAUSE).await,
        }
    }
}
