//! Waits after the swap until the cluster has a quorum, and reports which members are missing.

use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::cluster::Member;
use tokio::task::JoinSet;

use crate::domain::InitialCluster;
use crate::etcd::{Client, Credentials, installed_credentials, probe_local};
use crate::exit::not_ready;
use crate::identity::Identity;
use crate::journal::{Journal, NodeState};
use crate::output::say;
use crate::paths;
use crate::reason::ReasonId;
use crate::runtime::block_on;
use crate::terminal::TerminalSignals;

/// The pause between two queries of this node's etcd.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) fn until_healthy(identity: &Identity, patience: Duration) -> Result<()> {
    let end = Instant::now() + patience;
    let state = NodeState::of(&Journal::open_read_only(paths::JOURNAL)?);
    let cluster = state.cluster_id.unwrap_or_default();
    let expected = expected(&identity.cluster.members, state.initial_cluster.as_ref());
    block_on(async {
        let credentials = installed_credentials()?;
        let mut waits_for = String::from("no member has been asked yet");
        let mut asked = Instant::now();
        let mut signals = TerminalSignals::listen()?;
        loop {
            if let Ok(header) = probe_local(&credentials).await {
                say(format!(
                    "{} is a healthy member of the cluster {:x}, at revision {}",
                    identity.node.name, header.cluster_id, header.revision
                ));
                return Ok(());
            }
            if asked.elapsed() > Duration::from_secs(2) {
                let missing = missing(&expected, cluster, &credentials).await.join(", ");
                let now = match &missing[..] {
                    "" => "all members answer".to_owned(),
                    names => format!("missing members: {names}"),
                };
                if now != waits_for {
                    say(format!(
                        "etcd has started; waiting until it has a quorum ({now})"
                    ));
                    waits_for = now;
                }
                asked = Instant::now();
            }
            if Instant::now() >= end {
                return Err(not_ready(ReasonId::NoQuorum.because(format!(
                    "the data was replaced, but etcd has no quorum after {} s ({waits_for}). See `journalctl -u etcd`",
                    patience.as_secs()
                ))));
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = signals.next() => return Err(not_ready(ReasonId::NoQuorum.because(format!(
                    "the data was replaced, but firstboot was interrupted before etcd had a quorum ({waits_for})"
                )))),
            }
        }
    })
}

/// Returns the members of the recipe that take part in the restored cluster.
fn expected(members: &[Member], start: Option<&InitialCluster>) -> Vec<Member> {
    let takes_part = |member: &&Member| {
        start.is_none_or(|start| {
            let mut names = start.members.iter().map(|(name, _)| name);
            names.any(|name| name == member.name.as_str())
        })
    };
    members.iter().filter(takes_part).cloned().collect()
}

/// Returns the members whose etcd does not answer, or answers as a member of another cluster.
async fn missing(members: &[Member], cluster: u64, credentials: &Credentials) -> Vec<String> {
    let mut asked = JoinSet::new();
    for member in members.iter().cloned() {
        let credentials = credentials.clone();
        asked.spawn(async move {
            let status = async {
                Client::connect(&member.client_url(), &credentials)
                    .await?
                    .status()
                    .await
            };
            let there = match tokio::time::timeout(Duration::from_secs(1), status).await {
                Ok(Ok(status)) => status
                    .header
                    .is_some_and(|header| header.cluster_id == cluster),
                _ => false,
            };
            (!there).then(|| member.name.to_string())
        });
    }
    let mut missing: Vec<String> = asked.join_all().await.into_iter().flatten().collect();
    missing.sort();
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excluded_member_is_not_missing() {
        let members = ["a", "b"].map(|name| Member {
            name: name.parse().unwrap(),
            address: "10.0.0.1".parse().unwrap(),
        });
        let start = InitialCluster {
            state: "existing",
            token: "t".into(),
            members: vec![("b".into(), "https://10.0.0.1:2380".into())],
        };
        let names = |start| -> Vec<String> {
            let expected = expected(&members, start);
            expected
                .iter()
                .map(|member| member.name.to_string())
                .collect()
        };
        assert_eq!(names(Some(&start)), ["b"]);
        assert_eq!(names(None), ["a", "b"]);
    }
}
