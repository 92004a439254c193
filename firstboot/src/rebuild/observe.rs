//! Observes this node and the members of its cluster.

use std::path::Path;

use anyhow::Result;

use super::plan::Observed;
use crate::etcd::Credentials;
use crate::identity::Identity;
use crate::membership::{PeerClient, QUERY_TIMEOUT, query_others};
use crate::{files, paths};

/// Observes this node's version and free space, and the reports of the other members.
pub(super) async fn observe(
    identity: &Identity,
    peer_client: &PeerClient,
    credentials: &Credentials,
    added: Option<u64>,
) -> Result<Observed> {
    let (cluster, node) = (&identity.cluster, &identity.node);
    let (peers, clusters) = query_others(identity, peer_client, credentials, QUERY_TIMEOUT).await;
    let own = identity.member()?;
    Ok(Observed {
        name: node.name.clone(),
        peer_url: own.peer_url(),
        version: cluster.etcd.version,
        free: files::free_space(Path::new(paths::VOLUME))?,
        added,
        peers,
        clusters,
    })
}
