//! Queries etcd on the members.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use recipes::EtcdVersion;
use recipes::cluster::Member;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::active_streams::connected;
use super::list::MemberReport;
use super::peer_client::PeerClient;
use crate::etcd::{Client, Credentials};
use crate::identity::Identity;

/// The size limit for etcd's metrics, which are a few hundred kilobytes long.
pub(super) const LIMIT: usize = 4 << 20;

/// The time limit for the query of one member, for callers that do not need a quick answer.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(15);

/// Returns the reports of the other members that answer a linearizable read. Also returns the
/// cluster ids of all other members whose etcd answers any request. Queries the recipe's members
/// first, and then any further members in their member lists, because the cluster may have grown
/// since this image was built. If none of the recipe's members answers, uses the member list of
/// this node's etcd. A member that takes longer than `patience` counts as a member that does not
/// answer, and does not delay the queries of the other members.
pub(crate) async fn query_others(
    identity: &Identity,
    peer_client: &PeerClient,
    credentials: &Credentials,
    patience: Duration,
) -> (Vec<MemberReport>, BTreeSet<u64>) {
    let (mut peers, mut clusters) =
        ask(recipe_peers(identity), peer_client, credentials, patience).await;
    let extra = if peers.is_empty() {
        // The recipe may contain only this node. In this case, the node was the first member of its
        // cluster.
        let own = query_own(identity, peer_client, credentials, patience).await;
        extra_peers(identity, own.as_slice())
    } else {
        extra_peers(identity, &peers)
    };
    let more = ask(extra, peer_client, credentials, patience).await;
    peers.extend(more.0);
    clusters.extend(more.1);
    peers.sort_by(|one, other| one.name.cmp(&other.name));
    (peers, clusters)
}

/// Returns the report of this node's member, if the member answers a linearizable read.
pub(crate) async fn query_own(
    identity: &Identity,
    peer_client: &PeerClient,
    credentials: &Credentials,
    patience: Duration,
) -> Option<MemberReport> {
    let own = identity.cluster.member(&identity.node.name)?;
    let whom = BTreeSet::from([(own.name.to_string(), own.client_url())]);
    ask(whom, peer_client, credentials, patience).await.0.pop()
}

/// Returns the other members of the recipe, by name and client URL.
pub(crate) fn recipe_peers(identity: &Identity) -> BTreeSet<(String, String)> {
    let others = identity
        .cluster
        .members
        .iter()
        .filter(|member| member.name != identity.node.name);
    others
        .map(|member| (member.name.to_string(), member.client_url()))
        .collect()
}

/// Returns the members that the peers list but the recipe does not contain.
pub(crate) fn extra_peers(
    identity: &Identity,
    peers: &[MemberReport],
) -> BTreeSet<(String, String)> {
    let recipe: BTreeSet<String> = identity
        .cluster
        .members
        .iter()
        .map(Member::peer_url)
        .collect();
    let listed = peers.iter().flat_map(|peer| &peer.members);
    let unknown = listed.filter(|member| !member.peer_urls.iter().any(|url| recipe.contains(url)));
    // A member that has never started has no client URL.
    unknown
        .filter_map(|member| Some((member.title(), member.client_urls.first()?.clone())))
        .collect()
}

async fn ask(
    whom: BTreeSet<(String, String)>,
    peer_client: &PeerClient,
    credentials: &Credentials,
    patience: Duration,
) -> (Vec<MemberReport>, BTreeSet<u64>) {
    let mut questions = JoinSet::new();
    for (name, url) in whom {
        let (peer_client, credentials) = (peer_client.clone(), credentials.clone());
        questions.spawn(async move {
            one(
                name,
                url,
                &peer_client,
                &credentials,
                Instant::now() + patience,
            )
            .await
        });
    }
    let (mut peers, mut clusters) = (Vec::new(), BTreeSet::new());
    while let Some(answer) = questions.join_next().await {
        // Omit a member that does not answer, because the barrier already reports its name.
        let Ok(Ok((cluster_id, peer))) = answer else {
            continue;
        };
        clusters.insert(cluster_id);
        peers.extend(peer);
    }
    (peers, clusters)
}

/// Returns the cluster to which a member belongs, and the member's report if the member answers a
/// linearizable read.
async fn one(
    name: String,
    url: String,
    peer_client: &PeerClient,
    credentials: &Credentials,
    end: Instant,
) -> Result<(u64, Option<MemberReport>)> {
    let answer = async {
        let client = Client::connect(&url, credentials).await?;
        let status = client.status().await?;
        Ok::<_, anyhow::Error>((client, status))
    };
    let (client, status) = timeout_at(end, answer).await??;
    let header = status.header.unwrap_or_default();
    if status.leader == 0 {
        // Skip the linearizable read, because it would time out while the member has no leader.
        return Ok((header.cluster_id, None));
    }
    let peer = async {
        client.healthy().await?;
        let version: EtcdVersion = status.version.parse()?;
        let (metrics, date) = peer_client.page(&url, "/metrics", LIMIT).await?;
        let ahead = date.map_or(0, |date| (date - OffsetDateTime::now_utc()).whole_seconds());
        Ok::<_, anyhow::Error>(MemberReport {
            name,
            cluster_id: header.cluster_id,
            cluster_minor: cluster_minor(peer_client, &url).await,
            downgrade: status
                .downgrade_info
                .filter(|downgrade| downgrade.enabled)
                .and_then(|downgrade| minor(&downgrade.target_version)),
            storage: minor(&status.storage_version),
            members: client.members(true).await?,
            member_id: header.member_id,
            index: status.raft_applied_index,
            version,
            database: u64::try_from(status.db_size).unwrap_or_default(),
            ahead,
            connected: connected(&metrics),
            url: url.clone(),
        })
    };
    let peer = timeout_at(end, peer).await?.ok();
    Ok((header.cluster_id, peer))
}

fn minor(version: &str) -> Option<u64> {
    version
        .parse::<EtcdVersion>()
        .ok()
        .map(|version| version.minor)
}

/// Returns the minor version in the cluster version, or `None` if the members have not agreed on a
/// cluster version yet, or if the member does not report the cluster version.
async fn cluster_minor(peer_client: &PeerClient, url: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Versions {
        etcdcluster: EtcdVersion,
    }
    let (page, _) = peer_client.page(url, "/version", LIMIT).await.ok()?;
    Some(
        serde_json::from_str::<Versions>(&page)
            .ok()?
            .etcdcluster
            .minor,
    )
}
