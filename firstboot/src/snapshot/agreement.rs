//! Whether the member that a snapshot is taken from has the data that the others have. A snapshot of one that differs is whole
//! and good in itself, and what it restores is not what the cluster's clients were told.

use recipes::ClusterDocument;

use super::source::Endpoint;
use crate::compare::{Compared, Voter, compare};
use crate::etcd::Credentials;

/// What the members' hashes say.
#[derive(Debug)]
pub(super) struct Agreement {
    compared: Compared,
    /// Ids and names of those that were compared.
    members: Vec<(u64, String)>,
}

impl Agreement {
    /// Asks all voters that answer.
    pub(super) async fn ask(cluster: &ClusterDocument, credentials: &Credentials, any_size: bool) -> Self {
        let (mut voters, mut members) = (Vec::new(), Vec::new());
        for member in &cluster.members {
            let Ok(source) = Endpoint::at(Some(&member.client_url()), credentials).await else { continue };
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
        Self { compared: compare(&voters, credentials, any_size).await, members }
    }

    /// Why this member's data is not what the others have, if so.
    pub(super) fn apart(&self, source: &Endpoint) -> Option<String> {
        let own = source.status.header.unwrap_or_default().member_id;
        let name = self.members.iter().find(|(id, _)| *id == own).map(|(_, name)| name)?;
        Some(format!("{name}: {}", self.compared.apart(name)?))
    }

    /// Whether there is a majority of members with the same data to take it from instead.
    pub(super) fn has_majority(&self) -> bool {
        self.members.iter().any(|(_, name)| self.compared.apart(name).is_none())
    }

    /// What a manifest says of it, where all agree.
    pub(super) fn checked(&self) -> Option<&'static str> {
        (self.compared == Compared::Same && self.members.len() > 1).then_some("members agree")
    }

    /// Why it is not known, if so.
    pub(super) fn unknown(&self) -> Option<&str> {
        match &self.compared {
            Compared::Unknown(why) => Some(why),
            _ => None,
        }
    }
}
