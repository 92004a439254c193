//! Who starts first. An etcd that is to begin a cluster asks its peers, one after the other in the order of their URLs,
//! whether that cluster is there already, and gives each a second (server/etcdserver/cluster_util.go,
//! getClusterFromRemotePeers). One that has opened its port and asks, too, answers nobody meanwhile: members that start
//! at the same instant wait for each other until that time is over. So the one that all others ask first goes first, and
//! the others follow when its port is open: until theirs are, it has long asked.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use recipes::cluster::Member;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::epoch::Epoch;
use crate::identity::Identity;
use crate::membership::{PeerClient, PeerState, ProbeResult};

/// For how long the others wait for it; they would have waited as long for each other.
const HEAD_START: Duration = Duration::from_secs(1);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);
/// A question that is neither answered nor turned away for as long has reached a port that nobody serves yet: etcd
/// opens it some tens of milliseconds before it answers.
const OPEN: Duration = Duration::from_millis(10);

/// Returns when it is this node's turn. It saves time, and nothing depends on it.
pub(super) fn wait(identity: &Identity, epoch: &Epoch) -> Result<()> {
    let members = identity.cluster.members.iter().filter(|member| epoch.disk_ids.contains_key(&member.name));
    let first = members.min_by_key(|member| member.peer_url());
    let Some(first) = first.filter(|first| first.name != identity.node.name) else { return Ok(()) };
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Ok(Some(question)) = runtime.block_on(async { timeout(HEAD_START, started(&peer_client, first)).await }) {
        // etcd would log a connection that is broken off.
        thread::spawn(move || runtime.block_on(question));
    }
    Ok(())
}

/// Returns when its etcd is there, perhaps with a question that this one is still to answer.
async fn started(peer_client: &PeerClient, first: &Member) -> Option<JoinHandle<ProbeResult>> {
    // Before that its firstboot closes the port.
    loop {
        match peer_client.ask(first, false).await {
            ProbeResult::Unreachable(_) => break,
            ProbeResult::State(PeerState::Etcd { .. }) => return None,
            _ => sleep(PAUSE).await,
        }
    }
    loop {
        let (peer_client, first) = (peer_client.clone(), first.clone());
        let mut question = tokio::spawn(async move { peer_client.ask(&first, false).await });
        match timeout(OPEN, &mut question).await {
            Err(_) => return Some(question),
            Ok(Ok(ProbeResult::State(PeerState::Etcd { .. }))) => return None,
            Ok(_) => sleep(PAUSE).await,
        }
    }
}
