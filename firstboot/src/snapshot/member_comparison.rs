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
    /// The ids and names of the learners.
    learners: Vec<(u64, String)>,
    /// Whether etcd reports that the members' data differs, but not which member's data is wrong.
    is_any_corrupt: bool,
}

impl MemberComparison {
    /// Compares the data of all healthy voters in the recipe. Also compares a large database if
    /// `any_size` is set, or if etcd reports that the data of some member is corrupt. While etcd
    /// reports corrupt data, etcd refuses all writes, so the comparison cannot block any.
    pub(super) async fn ask(
        cluster: &ClusterDocument,
        credentials: &Credentials,
        any_size: bool,
    ) -> Self {
        let (mut voters, mut members) = (Vec::new(), Vec::new());
        let (mut cut_off, mut learners) = (Vec::new(), Vec::new());
        let mut is_any_corrupt = false;
        for member in &cluster.members {
            let Ok(source) = Endpoint::at(Some(&member.client_url()), credentials).await else {
                continue;
            };
            is_any_corrupt |= source.is_any_member_corrupt();
            let header = source.status.header.unwrap_or_default();
            let own = (header.member_id, member.name.to_string());
            if source.status.is_learner {
                learners.push(own);
                continue;
            }
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
            compared: compare(&voters, credentials, any_size || is_any_corrupt).await,
            members,
            cut_off,
            learners,
            is_any_corrupt,
        }
    }

    /// Returns the reason not to rely on this member's data, or `None` if no such reason is known.
    /// These are the possible reasons:
    /// - Other members have a quorum, but this member does not.
    /// - This member is a learner.
    /// - This member's data differs from the majority's data, or no majority of the members has the
    ///   same data.
    /// - etcd reports that the members' data differs, but not which member's data is wrong, and
    ///   firstboot did not compare the data.
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
        if let Some((_, name)) = find(&self.learners) {
            let why = format!("{name} is a learner: its data may be old");
            return Some(ReasonId::MembersUnhealthy.because(why));
        }
        let (_, name) = &find(&self.members)?;
        self.doubt(name)
    }

    /// Returns the reason not to rely on the data of a healthy voter.
    fn doubt(&self, name: &str) -> Option<Reason> {
        match &self.compared {
            HashComparison::Unknown(why) if self.is_any_corrupt => {
                Some(ReasonId::AlarmCorrupt.because(format!(
                    "{name}: etcd reports that the members' data differs (alarm CORRUPT), and the data was not compared: {why}"
                )))
            }
            compared => Some(compared.apart(name)?.map(|why| format!("{name}: {why}"))),
        }
    }

    /// Returns whether etcd reports that the members' data differs, but not which member's data is
    /// wrong.
    pub(super) fn is_any_corrupt(&self) -> bool {
        self.is_any_corrupt
    }

    /// Returns whether firstboot can rely on the data of at least one healthy voter. For such a
    /// voter, [`MemberComparison::apart`] returns `None`.
    pub(super) fn has_reliable_member(&self) -> bool {
        self.members
            .iter()
            .any(|(_, name)| self.doubt(name).is_none())
    }

    /// If this member was compared with others, and all of them have the same data, returns the
    /// entry for the manifest's list of checks.
    pub(super) fn checked(&self, source: &Endpoint) -> Option<&'static str> {
        self.checked_by_id(source.status.header.unwrap_or_default().member_id)
    }

    fn checked_by_id(&self, own: u64) -> Option<&'static str> {
        let is_compared = self.members.iter().any(|(id, _)| *id == own);
        let agree = self.compared == HashComparison::Same && self.members.len() > 1;
        (agree && is_compared).then_some("members agree")
    }

    /// Returns why the data of this member was not compared, or `None` if the data was compared.
    /// Also returns `None` if only the other members were compared, because this member is a
    /// learner or has no quorum: [`MemberComparison::apart`] returns this reason.
    pub(super) fn unknown(&self, source: &Endpoint) -> Option<String> {
        let own = source.status.header.unwrap_or_default().member_id;
        let mut known = self
            .members
            .iter()
            .chain(&self.cut_off)
            .chain(&self.learners);
        match &self.compared {
            HashComparison::Unknown(why) => Some(why.clone()),
            _ if known.all(|(id, _)| *id != own) => Some(format!(
                "{} is not in the recipe of this node's image",
                source.url
            )),
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
                learners: named(&[9]),
                is_any_corrupt: false,
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

    fn of_three(compared: HashComparison, is_any_corrupt: bool) -> MemberComparison {
        let named = |id: u64| (id, format!("etcd-{id}"));
        MemberComparison {
            compared,
            members: vec![named(1), named(2)],
            cut_off: Vec::new(),
            learners: vec![named(3)],
            is_any_corrupt,
        }
    }

    #[test]
    fn the_data_of_a_learner_is_not_relied_on() {
        let agree = of_three(HashComparison::Same, false);
        let why = agree.apart_by_id(3).unwrap();
        assert_eq!(why.id, Some(ReasonId::MembersUnhealthy));
        assert_eq!(agree.checked_by_id(3), None);
        assert_eq!(agree.checked_by_id(1), Some("members agree"));
        assert_eq!(agree.checked_by_id(4), None, "not in the recipe");
    }

    #[test]
    fn no_member_is_reliable_if_an_unknown_member_is_corrupt_and_the_data_was_not_compared() {
        let unknown = || HashComparison::Unknown("a compaction is in progress".to_owned());
        let corrupt = of_three(unknown(), true);
        let why = corrupt.apart_by_id(1).unwrap();
        assert_eq!(why.id, Some(ReasonId::AlarmCorrupt));
        assert!(!corrupt.has_reliable_member());
        let large = of_three(unknown(), false);
        assert_eq!(large.apart_by_id(1), None);
        assert!(large.has_reliable_member());
    }
}
