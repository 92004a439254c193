//! Detects that this node belongs to a running cluster with several members, although the image's
//! recipe lists only this node. Such a cluster has grown from one member, and this first member was
//! then reinstalled from its old image. The node knows no other member to query, but the member
//! list of the other members contains the node, so their etcd connects to the node's peer port.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use recipes::ClusterDocument;
use tokio::time::timeout;

use super::restore_session::RestoreSession;
use super::server::Listener;
use crate::exit::refused;
use crate::identity::Identity;
use crate::membership::peer_tls;
use crate::reason::ReasonId;

/// Returns the time for which the node waits for a connection. etcd tries to connect to a listed
/// member every 100 ms, with a time limit of one second plus the election timeout for each attempt
/// (server/etcdserver/api/rafthttp/stream.go, run; server/config/config.go, PeerDialTimeout).
fn listen_time(cluster: &ClusterDocument) -> Duration {
    Duration::from_secs(2) + Duration::from_millis(cluster.etcd.election_timeout_ms.into())
}

/// Refuses to bootstrap a cluster with one member if the etcd of another member connects to this
/// node. Only a machine with a certificate of the cluster's CA can connect. The function does not
/// refuse a restore, because [`refuse_restore_beside_running_cluster`] has already checked the
/// restore.
pub(super) async fn refuse_running_cluster(
    cluster: &ClusterDocument,
    listener: &Listener,
    session: Option<&RestoreSession>,
) -> Result<()> {
    if cluster.members.len() > 1 || session.is_some() {
        return Ok(());
    }
    match connecting_etcd(cluster, listener).await {
        None => Ok(()),
        Some(from) => Err(refusal(
            from,
            "To bootstrap a second cluster instead, first switch off the machines of the old cluster, and \
             then run `systemctl restart firstboot`",
        )),
    }
}

/// Refuses to restore a cluster with one member if the etcd of another member connects to this
/// node. Does nothing if another process listens on the peer port, because that process is etcd or
/// a firstboot that runs the same check.
pub(crate) async fn refuse_restore_beside_running_cluster(identity: &Identity) -> Result<()> {
    let cluster = &identity.cluster;
    if cluster.members.len() > 1 {
        return Ok(());
    }
    let tls = peer_tls::server(&identity.tls)?;
    let Ok(listener) = Listener::open(identity.node.address, tls, Vec::new()).await else {
        return Ok(());
    };
    match connecting_etcd(cluster, &listener).await {
        None => Ok(()),
        Some(from) => Err(refusal(
            from,
            "To restore a second cluster instead, first switch off the machines of the old cluster, and \
             then restore with --solo",
        )),
    }
}

/// Returns the address from which the etcd of another member connects to this node, or `None` if no
/// etcd connects within the listen time.
async fn connecting_etcd(cluster: &ClusterDocument, listener: &Listener) -> Option<IpAddr> {
    let mut notifier = listener.notifier();
    let connected = notifier.wait_for(|counters| counters.etcd.is_some());
    match timeout(listen_time(cluster), connected).await {
        Ok(Ok(counters)) => counters.etcd,
        _ => None,
    }
}

fn refusal(from: IpAddr, second_cluster: &str) -> anyhow::Error {
    refused(ReasonId::AnotherCluster.because(format!(
        "etcd at {from} treats this node as a member of its cluster, but this image's \
         recipe has no other member. Reinstall this node from the image of the newest recipe. \
         {second_cluster}"
    )))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;
    use crate::paths::PEER_PORT;

    /// Returns the result of `refuse_running_cluster` for a cluster with this number of members,
    /// after another member has requested `path`. The listener uses an address in the loopback
    /// network 127.0.0.0/8 at which no other program uses port 2380.
    async fn result(address: u8, members: usize, path: &str) -> Result<()> {
        let own = Ipv4Addr::new(127, 93, 81, address);
        let identity = crate::steps::test_identity();
        let tls = peer_tls::server(&identity.tls).unwrap();
        let listener = Listener::open(own, tls, Vec::new()).await.unwrap();
        let peer = reqwest::Client::builder()
            .tls_backend_preconfigured(peer_tls::client(&identity.tls).unwrap())
            .resolve("localhost", SocketAddrV4::new(own, PEER_PORT).into())
            .no_proxy()
            .build()
            .unwrap();
        let request = peer.get(format!("https://localhost:{PEER_PORT}{path}"));
        request.send().await.unwrap();
        let mut cluster = identity.cluster.clone();
        let member = cluster.members[0].clone();
        cluster.members = vec![member; members];
        refuse_running_cluster(&cluster, &listener, None).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_only_member_refuses_if_the_etcd_of_another_member_connects() {
        let stream = "/raft/stream/message/8e9e05c52164694d";
        let refusal = result(1, 1, stream).await.unwrap_err().to_string();
        assert!(refusal.contains("etcd at 127."), "{refusal}");
        // In a larger cluster, a connection is normal: the other members connect as soon as they
        // have agreed.
        result(2, 3, stream).await.unwrap();
        result(3, 1, "/firstboot/barrier").await.unwrap();
    }
}
