//! Determines whether the member from which a snapshot is taken has the same data as the other
//! members. A snapshot of a member whose data differs is internally consistent, but a restore from
//! that snapshot would lose writes that were acknowledged to clients.

use recipes::ClusterDocument;

use super::source::Endpoint;
use crate::compare::{HashComparison, Voter, compare};
use crate::etcd::Credentials;
use crate::reason::Reason;

#[derive(Debug)]
pub(super) struct MemberComparison {
    compared: HashComparison,
    members: Vec<(u64, String)>,
}

impl MemberComparison {
    /// Compares the data of all healthy voters in the recipe.
    pub(super) async fn ask(
        cluster: &ClusterDocument,
        credentials: &Credentials,
        any_size: bool,
    ) -> Self {
        let (mut voters, mut members) = (Vec::new(), Vec::new());
        for member in &cluster.members {
            let Ok(source) = Endpoint::at(Some(&member.client_url()), credentials).await else {
                continue;
            };
            if source.status.is_learner || source.client.healthy().await.is_err() {
                continue;
            }
            let header = source.status.header.unwrap_or_default();
            members.push((header.member_id, member.name.to_string()));
            voters.push(Voter {
                name: member.name.to_string(),
                endpoint: member.client_url(),
                revision: header.revision,
                size: source.status.db_size,
            });
        }
        Self {
            compared: compare(&voters, credentials, any_size).await,
            members,
        }
    }

    /// Returns the reason not to rely on this member's data: this data differs from the majority's
    /// data, or no majority of the members has the same data. Returns `None` if no difference is
    /// known.
    pub(super) fn apart(&self, source: &Endpoint) -> Option<Reason> {
        let own = source.status.header.unwrap_or_default().member_id;
        let name = self
            .members
            .iter()
            .find(|(id, _)| *id == own)
            .map(|(_, name)| name)?;
        Some(
            self.compared
                .apart(name)?
                .map(|why| format!("{name}: {why}")),
        )
    }

    /// Returns whether firstboot can rely on the data of at least one member, which is a member for
    /// which [`MemberComparison::apart`] returns `None`.
    pub(super) fn has_reliable_member(&self) -> bool {
        self.members
            .iter()
            .any(|(_, name)| self.compared.apart(name).is_none())
    }

    /// If several members were compared and have the same data, returns the entry for the
    /// manifest's list of checks.
    pub(super) fn checked(&self) -> Option<&'static str> {
        (self.compared == HashComparison::Same && self.members.len() > 1).then_some("members agree")
    }

    /// Returns why the data was not compared, or `None` if it was compared.
    pub(super) fn unknown(&self) -> Option<&str> {
        match &self.compared {
            HashComparison::Unknown(why) => Some(why),
            _ => None,
        }
    }
}
