//! Finds out whether this node's member was removed from its cluster.

use std::time::Duration;

use anyhow::Result;

use crate::data::Ids;
use crate::etcd::Credentials;
use crate::identity::Identity;
use crate::journal::{Journal, NodeState};
use crate::membership::{self, MemberReport, PeerClient};
use crate::reason::Reason;

/// Queries the other members. If they do not list this node's member, or if they belong to another
/// cluster, returns the reason to report. An etcd that learns of its removal through raft exits
/// with status 0, and only its log contains the reason. A member that was never healthy may have
/// been excluded, and the other members may have bootstrapped another cluster. etcd has not
/// reported the ids of such a member, so firstboot computes them from the token and the peer URLs
/// on which the members agreed.
pub(crate) async fn removal_reason(
    identity: &Identity,
    journal: &Journal,
    credentials: &Credentials,
    patience: Duration,
) -> Result<Option<Reason>> {
    let ids = NodeState::of(journal).ids(&identity.node.name);
    if ids.member.is_none() {
        return Ok(None);
    }
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let (peers, _) = membership::query_others(identity, &peer_client, credentials, patience).await;
    Ok(no_longer_member(&peers, ids))
}

/// Returns the ids that etcd has reported to this node.
pub(super) fn known_ids(state: &NodeState) -> Ids {
    Ids {
        member: state.member_id,
        cluster: state.cluster_id,
    }
}

pub(super) fn no_longer_member(peers: &[MemberReport], ids: Ids) -> Option<Reason> {
    let own = ids.member?;
    if peers.is_empty() {
        return None;
    }
    membership::another_cluster(peers, ids.cluster)
        .or_else(|| (!membership::is_listed(peers, own)).then(|| membership::removed_reason(own)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{InitialCluster, cluster_id, member_id};
    use crate::reason::ReasonId;

    fn peer(cluster_id: u64, members: &[u64]) -> MemberReport {
        let member = |id: &u64| crate::etcd::Member {
            id: *id,
            ..crate::etcd::Member::default()
        };
        MemberReport::example(
            cluster_id,
            2,
            &members.iter().map(member).collect::<Vec<_>>(),
        )
    }

    /// This node agreed with the other members on a cluster and started etcd, but was then excluded
    /// before any other member started.
    #[test]
    fn a_member_that_was_excluded_before_it_was_healthy_belongs_to_another_cluster() {
        let (url, token) = ("https://10.0.0.1:2380", "demo-1");
        let state = NodeState {
            initial_cluster: Some(InitialCluster {
                state: "new",
                token: token.to_owned(),
                members: vec![("etcd-1".to_owned(), url.to_owned())],
            }),
            ..NodeState::default()
        };
        let ids = state.ids(&"etcd-1".parse().unwrap());
        let (member, cluster) = (member_id(url, token), cluster_id([url], token));
        assert_eq!(
            no_longer_member(&[peer(cluster, &[member, 2])], ids),
            None,
            "the first start of the cluster"
        );
        let why = no_longer_member(&[peer(7, &[2, 3])], ids).unwrap();
        assert_eq!(why.id, Some(ReasonId::AnotherCluster));
        assert_eq!(
            no_longer_member(&[peer(7, &[2, 3])], known_ids(&state)),
            None
        );
    }
}
