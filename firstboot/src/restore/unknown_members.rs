//! Refuses a restore or a rollback that would leave a second cluster behind. A restore and a
//! rollback wait only for the members in the recipe of this node's image. If the cluster has grown
//! since the image was built, the members that do not take part may have a quorum of their own, and
//! continue to run the old cluster.

use std::collections::BTreeSet;

use anyhow::Result;
use recipes::{ClusterDocument, Label};

use crate::etcd::{Client, Member, installed_credentials};
use crate::exit::refused;
use crate::identity::Identity;
use crate::output::say;
use crate::reason::{Reason, ReasonId};
use crate::runtime::block_on;
use crate::{barrier, paths};

/// Checks the member list of etcd on this node. etcd returns its list even without a quorum. If
/// etcd does not answer and the recipe contains only this node, checks that no other member's etcd
/// connects to this node.
pub(super) fn check(identity: &Identity, without: &BTreeSet<Label>) -> Result<()> {
    let Ok(members) = block_on(own_member_list()) else {
        return block_on(barrier::refuse_restore_beside_running_cluster(identity));
    };
    let unknown: Vec<String> = members
        .iter()
        .filter(|member| known(member, &identity.cluster).is_none())
        .map(Member::title)
        .collect();
    if let Some(why) = obstacle(&members, &identity.cluster, without) {
        return Err(refused(why));
    }
    if !unknown.is_empty() {
        say(format!(
            "the restore does not wait for {}, because the recipe of this node's image does not contain them. Reinstall \
             them after the restore",
            unknown.join(", ")
        ));
    }
    Ok(())
}

/// Returns the member list of etcd on this node.
pub(super) async fn own_member_list() -> Result<Vec<Member>> {
    let credentials = installed_credentials()?;
    Client::connect(paths::OWN_CLIENT_URL, &credentials)
        .await?
        .members(false)
        .await
}

/// Returns the name that the recipe gives to a member in etcd's list, or `None` if the recipe does
/// not contain the member.
pub(super) fn known<'a>(member: &Member, cluster: &'a ClusterDocument) -> Option<&'a Label> {
    let known = cluster.members.iter().find(|known| {
        known.name.as_str() == member.name || member.peer_urls.contains(&known.peer_url())
    });
    known.map(|known| &known.name)
}

fn obstacle(
    members: &[Member],
    cluster: &ClusterDocument,
    without: &BTreeSet<Label>,
) -> Option<Reason> {
    let voters: Vec<&Member> = members.iter().filter(|member| !member.is_learner).collect();
    let left: Vec<String> = voters
        .iter()
        .filter(|member| known(member, cluster).is_none_or(|name| without.contains(name)))
        .map(|member| member.title())
        .collect();
    (left.len() > voters.len() / 2).then(|| {
        ReasonId::ExclusionRefused.because(format!(
            "the restore would not wait for {}, which have a quorum without the other members: two clusters could run. \
             Install an image whose recipe contains all members, or stop these members and restore with --solo",
            left.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(names: &[&str]) -> Vec<Member> {
        let voter = |name: &&str| Member {
            name: (*name).to_owned(),
            ..Member::default()
        };
        names.iter().map(voter).collect()
    }

    fn said(members: &[Member], without: &[&str]) -> Option<String> {
        let cluster = recipes::recipe::read(include_str!("../../../recipes/three-node.toml"))
            .recipe
            .unwrap()
            .cluster_document();
        let without = without.iter().map(|name| name.parse().unwrap()).collect();
        obstacle(members, &cluster, &without).map(|why| why.text)
    }

    #[test]
    fn a_restore_that_leaves_a_quorum_behind_is_refused() {
        let known = ["etcd-1", "etcd-2", "etcd-3"];
        let grown = |known: &[&str], new: &[&str]| voters(&[known, new].concat());
        let new = ["etcd-4", "etcd-5", "etcd-6", "etcd-7"];
        for (members, without) in [
            (grown(&known, &[]), &[][..]),
            (grown(&known, &[]), &["etcd-3"]),
            (grown(&known, &new[..2]), &[]),
            (grown(&known[..2], &new[..2]), &[]),
        ] {
            assert_eq!(said(&members, without), None, "{members:?} {without:?}");
        }
        for (members, without, left) in [
            (grown(&known[..1], &new[..2]), &[][..], "etcd-4, etcd-5,"),
            (grown(&known, &new), &[], "etcd-4, etcd-5, etcd-6, etcd-7,"),
            (
                grown(&known, &new[..2]),
                &["etcd-3"],
                "etcd-3, etcd-4, etcd-5,",
            ),
        ] {
            let why = said(&members, without).unwrap();
            assert!(why.contains(&format!("would not wait for {left}")), "{why}");
        }
    }

    #[test]
    fn a_learner_has_no_vote_and_a_member_without_a_name_is_known_by_its_url() {
        let mut members = voters(&["etcd-1", "etcd-4"]);
        members[1].is_learner = true;
        assert_eq!(said(&members, &[]), None);
        let unnamed = Member {
            peer_urls: vec!["https://10.101.15.102:2380".to_owned()],
            ..Member::default()
        };
        assert_eq!(said(&[unnamed], &[]), None);
    }
}
