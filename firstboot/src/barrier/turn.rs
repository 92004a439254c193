//! Who starts first. An etcd that is to begin a cluster asks its peers, one after the other in the order of their URLs,
//! whether that cluster is there already, and gives each a second (server/etcdserver/cluster_util.go,
//! getClusterFromRemotePeers). One that has opened its port and asks, too, answers nobody meanwhile: members that start
//! at the same instant wait for each other until that time is over. So the one that all others ask first goes first.

use std::time::Duration;

use anyhow::Result;

use super::{Asker, Epoch, Heard, Words};
use crate::identity::Identity;

/// For how long the others wait for it; they would have waited as long for each other.
const HEAD_START: Duration = Duration::from_secs(1);
/// etcd takes some tens of milliseconds until it answers.
const PAUSE: Duration = Duration::from_millis(5);

/// Returns when it is this node's turn. It saves time, and nothing depends on it.
pub(super) async fn wait(identity: &Identity, epoch: &Epoch) -> Result<()> {
    let members = identity.cluster.members.iter().filter(|member| epoch.lives.contains_key(&member.name));
    let first = members.min_by_key(|member| member.peer_url());
    let Some(first) = first.filter(|first| first.name != identity.node.name) else { return Ok(()) };
    let asker = Asker::new(&identity.cluster, &identity.node.tls)?;
    let until_it_is_there = async {
        while !matches!(asker.ask(first, false).await, Heard::Words(Words::Etcd { .. })) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let _ = tokio::time::timeout(HEAD_START, until_it_is_there).await;
    Ok(())
}
