//! Which member a snapshot is taken from.

use anyhow::{Context as _, Result};
use recipes::ClusterDocument;

use super::agreement::Agreement;
use crate::etcd::{Client, Credentials, StatusResponse};
use crate::exit::{not_ready, refused};

/// The member of this node.
const LOCAL: &str = "https://127.0.0.1:2379";
/// etcd's number for the alarm CORRUPT.
const CORRUPT: i32 = 2;

/// A member that answers.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) endpoint: String,
    pub(super) client: Client,
    pub(super) status: StatusResponse,
}

impl Source {
    /// The one at this address; without one the local member.
    pub(super) async fn at(endpoint: Option<&str>, credentials: &Credentials) -> Result<Self> {
        let endpoint = endpoint.unwrap_or(LOCAL);
        let opened = async {
            let client = Client::connect_wide(endpoint, credentials).await?;
            let status = client.status().await?;
            anyhow::Ok(Self { endpoint: endpoint.to_owned(), client, status })
        };
        let source = opened.await.map_err(|error| not_ready(format!("{endpoint}: {error:#}")))?;
        if source.is_corrupt().await {
            return Err(refused(format!(
                "etcd says itself that the data of {endpoint} is corrupt (alarm CORRUPT); take the snapshot from another \
                 member: --from-any"
            )));
        }
        Ok(source)
    }

    /// The best of all members that have what the majority has.
    pub(super) async fn any(
        cluster: &ClusterDocument,
        credentials: &Credentials,
        agreement: &Agreement,
    ) -> Result<Self> {
        let mut found = Vec::new();
        let mut silent = Vec::new();
        for member in &cluster.members {
            let asked = async {
                let source = Self::at(Some(&member.client_url()), credentials).await?;
                source.client.healthy().await?;
                anyhow::Ok(source)
            };
            match asked.await {
                Ok(source) if agreement.has_majority() && agreement.apart(&source).is_some() => {
                    silent.extend(agreement.apart(&source));
                }
                Ok(source) => found.push(source),
                Err(error) => silent.push(format!("{}: {error:#}", member.name)),
            }
        }
        let standing: Vec<Standing> = found.iter().map(|source| Standing::of(&source.status)).collect();
        let best = choose(&standing).with_context(|| silent.join("; "));
        let best = best.map_err(|error| not_ready(format!("no member is healthy: {error:#}")))?;
        Ok(found.swap_remove(best))
    }

    async fn is_corrupt(&self) -> bool {
        let own = self.status.header.as_ref().map(|header| header.member_id);
        let alarms = self.client.alarms().await.unwrap_or_default();
        alarms.iter().any(|alarm| alarm.alarm == CORRUPT && Some(alarm.member_id) == own)
    }
}

/// What makes one member better than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    leader: bool,
    learner: bool,
    revision: i64,
}

impl Standing {
    fn of(status: &StatusResponse) -> Self {
        let header = status.header.unwrap_or_default();
        Self { leader: status.leader == header.member_id, learner: status.is_learner, revision: header.revision }
    }
}

/// A voter; rather not the leader, which has work enough; of those the one with the newest revision.
fn choose(members: &[Standing]) -> Option<usize> {
    let voters = members.iter().enumerate().filter(|(_, member)| !member.learner);
    voters.max_by_key(|(_, member)| (!member.leader, member.revision)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_with_the_newest_revision_is_taken() {
        let follower = |revision| Standing { leader: false, learner: false, revision };
        let leader = Standing { leader: true, learner: false, revision: 9 };
        let learner = Standing { leader: false, learner: true, revision: 9 };
        assert_eq!(choose(&[leader, follower(7), follower(8), learner]), Some(2));
        assert_eq!(choose(&[leader, learner]), Some(0));
        assert_eq!(choose(&[learner]), None);
    }
}
