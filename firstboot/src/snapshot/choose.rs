//! Chooses the member from which a snapshot is taken, for `--from-any`.

use anyhow::Result;
use recipes::ClusterDocument;

use super::member_comparison::MemberComparison;
use super::source::Endpoint;
use crate::etcd::{Credentials, StatusResponse};
use crate::exit::not_ready;
use crate::reason::ReasonId;

/// Returns the best of the healthy members. If a majority of the members has the same data,
/// excludes the members whose data differs.
pub(super) async fn best_member(
    cluster: &ClusterDocument,
    credentials: &Credentials,
    comparison: &MemberComparison,
) -> Result<Endpoint> {
    let mut found = Vec::new();
    let mut unfit = Vec::new();
    for member in &cluster.members {
        let asked = async {
            let source = Endpoint::at(Some(&member.client_url()), credentials).await?;
            source.client.healthy().await?;
            anyhow::Ok(source)
        };
        match asked.await {
            Ok(source)
                if comparison.has_reliable_member() && comparison.apart(&source).is_some() =>
            {
                unfit.extend(comparison.apart(&source).map(|why| why.text));
            }
            Ok(source) => found.push(source),
            Err(error) => unfit.push(format!("{}: {error:#}", member.name)),
        }
    }
    let ranks: Vec<MemberRank> = found
        .iter()
        .map(|source| MemberRank::of(&source.status))
        .collect();
    let best = choose(&ranks).ok_or_else(|| {
        not_ready(ReasonId::MembersUnhealthy.because(format!(
            "cannot take a snapshot from any member: {}",
            unfit.join("; ")
        )))
    })?;
    Ok(found.swap_remove(best))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MemberRank {
    leader: bool,
    learner: bool,
    revision: i64,
}

impl MemberRank {
    fn of(status: &StatusResponse) -> Self {
        let header = status.header.unwrap_or_default();
        Self {
            leader: status.leader == header.member_id,
            learner: status.is_learner,
            revision: header.revision,
        }
    }
}

/// Returns the follower with the newest revision. Returns the leader only if there is no follower,
/// because the leader has a higher load. Never returns a learner.
fn choose(members: &[MemberRank]) -> Option<usize> {
    let voters = members
        .iter()
        .enumerate()
        .filter(|(_, member)| !member.learner);
    voters
        .max_by_key(|(_, member)| (!member.leader, member.revision))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_with_the_newest_revision_is_chosen() {
        let follower = |revision| MemberRank {
            leader: false,
            learner: false,
            revision,
        };
        let leader = MemberRank {
            leader: true,
            learner: false,
            revision: 9,
        };
        let learner = MemberRank {
            leader: false,
            learner: true,
            revision: 9,
        };
        assert_eq!(
            choose(&[leader, follower(7), follower(8), learner]),
            Some(2)
        );
        assert_eq!(choose(&[leader, learner]), Some(0));
        assert_eq!(choose(&[learner]), None);
    }
}
