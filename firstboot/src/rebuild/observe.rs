//! Observes this node and the members of its cluster.

use anyhow::{Context as _, Result};
use nix::sys::statvfs::statvfs;

use super::plan::Observed;
use crate::etcd::Credentials;
use crate::identity::Identity;
use crate::membership::{PeerClient, QUERY_TIMEOUT, query_others};
use crate::paths;

/// Observes this node's version and free space, and the reports of the other members.
pub(super) async fn observe(
    identity: &Identity,
    peer_client: &PeerClient,
    credentials: &Credentials,
    added: Option<u64>,
) -> Result<Observed> {
    let (cluster, node) = (&identity.cluster, &identity.node);
    let (peers, clusters) = query_others(identity, peer_client, credentials, QUERY_TIMEOUT).await;
    let space = statvfs(paths::VOLUME)
        .with_context(|| format!("cannot determine the free space of {}", paths::VOLUME))?;
    let own = identity.member()?;
    Ok(Observed {
        name: node.name.clone(),
        peer_url: own.peer_url(),
        version: cluster.etcd.version,
        free: space.blocks_available() * space.fragment_size(),
        added,
        peers,
        clusters,
    })
}
