//! Determines whether the member from which a snapshot is taken has the same data as the other
//! members. A snapshot of a member whose data differs is internally consistent, but a restore from
//! that snapshot would lose writes that were acknowledged to clients.

use recipes::ClusterDocument;

use super::source::Endpoint;
use crate::compare::{HashComparison, Voter, compare};
use crate::etcd::Credentials;
use crate::reason::{Reason, ReasonId};

#[derive(Debug)]
pub(super) struct MemberComparison {
    compared: HashComparison,
    /// The ids and names of the healthy voters.
    members: Vec<(u64, String)>,
    /// The ids and names of the voters that answer but have no quorum.
    cut_off: Vec<(u64, String)>,
}

impl MemberComparison {
    /// Compares the data of all healthy voters in the recipe.
    pub(super) async fn ask(
        cluster: &ClusterDocument,
        credentials: &Credentials,
        any_size: bool,
    ) -> Self {
        let (mut voters, mut members, mut cut_off) = (Vec::new(), Vec::new(), Vec::new());
        for member in &cluster.members {
            let Ok(source) = Endpoint::at(Some(&member.client_url()), credentials).await else {
                continue;
            };
            if source.status.is_learner {
                continue;
            }
            let header = source.status.header.unwrap_or_default();
            let own = (header.member_id, member.name.to_string());
            if source.client.healthy().await.is_err() {
                cut_off.push(own);
                continue;
            }
            members.push(own);
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
            cut_off,
        }
    }

    /// Returns the reason not to rely on this member's data: this data differs from the majority's
    /// data, no majority of the members has the same data, or other members have a quorum without
    /// this member. Returns `None` if no such reason is known.
    pub(super) fn apart(&self, source: &Endpoint) -> Option<Reason> {
        self.apart_by_id(source.status.header.unwrap_or_default().member_id)
    }

    fn apart_by_id(&self, own: u64) -> Option<Reason> {
        let find = |members: &[(u64, String)]| members.iter().find(|(id, _)| *id == own).cloned();
        if let (Some((_, name)), Some((_, healthy))) = (find(&self.cut_off), self.members.first()) {
            return Some(ReasonId::NoQuorum.because(format!(
                "{name} has no quorum, but {healthy} has one: the data of {name} may be old"
            )));
        }
        let (_, name) = &find(&self.members)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_a_member_without_a_quorum_may_be_old_if_another_member_has_one() {
        let comparison = |healthy: &[u64], cut_off: &[u64]| {
            let named = |ids: &[u64]| ids.iter().map(|id| (*id, format!("etcd-{id}"))).collect();
            MemberComparison {
                compared: HashComparison::Same,
                members: named(healthy),
                cut_off: named(cut_off),
            }
        };
        let partition = comparison(&[1, 2], &[3]);
        let why = partition.apart_by_id(3).unwrap();
        assert_eq!(why.id, Some(ReasonId::NoQuorum));
        assert!(
            why.text
                .starts_with("etcd-3 has no quorum, but etcd-1 has one"),
            "{why}"
        );
        assert_eq!(partition.apart_by_id(1), None);
        assert_eq!(partition.apart_by_id(4), None, "not in the recipe");
        assert_eq!(
            comparison(&[], &[3]).apart_by_id(3),
            None,
            "no quorum anywhere"
        );
    }
}
