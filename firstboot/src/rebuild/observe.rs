//! What the members of a living cluster say of it, and what this node has to offer.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use nix::sys::statvfs::statvfs;
use recipes::EtcdVersion;
use recipes::cluster::Member;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::plan::{Observed, Peer};
use crate::barrier::Asker;
use crate::etcd::{Client, Credentials};
use crate::identity::Identity;
use crate::paths;

/// etcd's page of metrics has some hundred kilobytes.
const LIMIT: usize = 4 << 20;

/// Asks all other members of the recipe at once.
pub(super) async fn all(
    identity: &Identity,
    asker: &Asker,
    credentials: &Credentials,
    added: Option<u64>,
) -> Result<Observed> {
    let (cluster, node) = (&identity.cluster, &identity.node);
    let mut questions = JoinSet::new();
    for member in cluster.members.iter().filter(|member| member.name != node.name) {
        let (member, asker, credentials) = (member.clone(), asker.clone(), credentials.clone());
        questions.spawn(async move { one(&member, &asker, &credentials).await });
    }
    let (mut peers, mut clusters) = (Vec::new(), BTreeSet::new());
    while let Some(answer) = questions.join_next().await {
        // Who does not answer is not counted; the barrier says who that is.
        let Ok(Ok((cluster_id, peer))) = answer else { continue };
        clusters.insert(cluster_id);
        peers.extend(peer);
    }
    peers.sort_by(|one: &Peer, other| one.name.cmp(&other.name));
    let space = statvfs(paths::VOLUME).with_context(|| format!("cannot look at {}", paths::VOLUME))?;
    let own = cluster.member(&node.name).context("the member vanished from the cluster document")?;
    Ok(Observed {
        name: node.name.clone(),
        peer_url: own.peer_url(),
        minor: cluster.etcd.version.minor,
        free: space.blocks_available() * space.fragment_size(),
        added,
        peers,
        clusters,
    })
}

/// The cluster that a member belongs to, and, if it has a quorum behind it, what it says.
async fn one(member: &Member, asker: &Asker, credentials: &Credentials) -> Result<(u64, Option<Peer>)> {
    let client = Client::connect(&member.client_url(), credentials).await?;
    let status = client.status().await?;
    let header = status.header.unwrap_or_default();
    let peer = async {
        client.healthy().await?;
        let version: EtcdVersion = status.version.parse()?;
        let (metrics, date) = asker.page(member, "/metrics", LIMIT).await?;
        let ahead = date.map_or(0, |date| (date - OffsetDateTime::now_utc()).whole_seconds());
        Ok::<_, anyhow::Error>(Peer {
            name: member.name.clone(),
            cluster_id: header.cluster_id,
            members: client.members(true).await?,
            member_id: header.member_id,
            minor: version.minor,
            database: u64::try_from(status.db_size).unwrap_or_default(),
            ahead,
            connected: connected(&metrics),
        })
    };
    Ok((header.cluster_id, peer.await.ok()))
}

/// The members to which a member has an open stream, from its metrics (server/etcdserver/api/rafthttp/metrics.go).
fn connected(metrics: &str) -> BTreeSet<u64> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("etcd_network_active_peers{"));
    lines
        .filter_map(|line| {
            let (labels, count) = line.split_once("} ")?;
            let remote = labels.split(',').find_map(|label| label.strip_prefix("Remote=\"")?.strip_suffix('"'))?;
            (count.trim() != "0").then(|| u64::from_str_radix(remote, 16).ok()).flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_streams_are_read_from_the_metrics() {
        let metrics = "# TYPE etcd_network_active_peers gauge\n\
                       etcd_network_active_peers{Local=\"1\",Remote=\"ab\"} 1\n\
                       etcd_network_active_peers{Local=\"1\",Remote=\"cd\"} 0\n\
                       etcd_network_peer_sent_bytes_total{To=\"ef\"} 5\n";
        assert_eq!(connected(metrics), BTreeSet::from([0xab]));
    }
}
