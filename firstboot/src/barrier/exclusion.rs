//! Decides whether the operator may exclude members from a new or restored cluster.

use std::collections::BTreeSet;

use recipes::{ClusterDocument, Label};

use crate::journal::NodeState;
use crate::reason::{Reason, ReasonId};

/// Returns why it is too late to exclude members, or `None` if members can still be excluded.
pub(crate) fn too_late(state: &NodeState) -> Option<Reason> {
    if state.order.is_some() {
        return Some(ReasonId::ExclusionTooLate.because(
            "a restore is in progress on this node, so it does not bootstrap a cluster. To restore without other \
             members, pass --without to `firstboot restore`",
        ));
    }
    let token = &state.initial_cluster.as_ref()?.token;
    Some(ReasonId::ExclusionTooLate.because(format!(
        "members can no longer be excluded: this node has already agreed on its cluster (token {token})"
    )))
}

/// Returns why these members cannot be excluded, or `None` if they can.
pub(crate) fn exclusion_obstacle(
    names: &BTreeSet<Label>,
    cluster: &ClusterDocument,
    own: Option<&Label>,
    state: &NodeState,
) -> Option<Reason> {
    obstacle(names, cluster, own, state).map(|why| ReasonId::ExclusionRefused.because(why))
}

fn obstacle(
    names: &BTreeSet<Label>,
    cluster: &ClusterDocument,
    own: Option<&Label>,
    state: &NodeState,
) -> Option<String> {
    let all: BTreeSet<Label> = cluster
        .members
        .iter()
        .map(|member| member.name.clone())
        .collect();
    if let Some(stranger) = names.difference(&all).next() {
        let all: Vec<&str> = all.iter().map(Label::as_str).collect();
        return Some(format!(
            "{stranger} is not a member of this cluster; the members are {}",
            all.join(", ")
        ));
    }
    if own.is_some_and(|own| names.contains(own)) {
        return Some("this node cannot exclude itself".to_owned());
    }
    let left = &all - names;
    if left.len() <= all.len() / 2 {
        return Some(format!(
            "{} of {} members would remain, which is not a majority: two clusters could be bootstrapped. Exclude fewer members",
            left.len(),
            all.len()
        ));
    }
    // A member that accepted a proposal may have bootstrapped a cluster with the members of that
    // proposal. The members that are now excluded must not form a quorum of such a cluster.
    let before: BTreeSet<&Label> = state
        .accepted_ever
        .iter()
        .flat_map(|nonces| nonces.keys())
        .collect();
    let could = state.accepted_ever.iter().find(|nonces| {
        let staying_behind = nonces.keys().filter(|name| !left.contains(*name)).count();
        staying_behind > nonces.len() / 2
    });
    could.map(|_| {
        let before: Vec<&str> = before.into_iter().map(Label::as_str).collect();
        format!(
            "this node was ready to bootstrap a cluster with {}. The members to exclude may have \
             bootstrapped that cluster, and may have its quorum. Start or reinstall these members \
             first",
            before.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BootstrapMode, InitialCluster, Nonce, Nonces};
    use crate::journal::RestoreOrder;

    fn labels(names: &[&str]) -> BTreeSet<Label> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn cluster(count: usize) -> ClusterDocument {
        let recipe = recipes::recipe::read(include_str!("../../../recipes/three-node.toml"))
            .recipe
            .unwrap();
        let mut cluster = recipe.cluster_document();
        let model = cluster.members[0].clone();
        let member = |i| recipes::cluster::Member {
            name: format!("etcd-{i}").parse().unwrap(),
            ..model.clone()
        };
        cluster.members = (1..=count).map(member).collect();
        cluster
    }

    fn said(names: &[&str], count: usize, state: &NodeState) -> Option<String> {
        exclusion_obstacle(
            &labels(names),
            &cluster(count),
            labels(&["etcd-1"]).first(),
            state,
        )
        .map(|why| why.text)
    }

    #[test]
    fn a_majority_must_remain() {
        let state = NodeState::default();
        assert_eq!(said(&["etcd-3"], 3, &state), None);
        assert_eq!(said(&["etcd-4", "etcd-5"], 5, &state), None);
        assert!(
            said(&["etcd-2", "etcd-3"], 3, &state)
                .unwrap()
                .contains("1 of 3 members would remain, which is not a majority")
        );
        assert!(
            said(&["etcd-2"], 2, &state)
                .unwrap()
                .contains("not a majority")
        );
        assert!(
            said(&["etcd-1"], 3, &state)
                .unwrap()
                .contains("exclude itself")
        );
        assert!(
            said(&["x"], 3, &state)
                .unwrap()
                .contains("the members are etcd-1, etcd-2, etcd-3")
        );
    }

    #[test]
    fn members_cannot_be_excluded_after_the_bootstrap_or_in_a_restore() {
        let begun = Some(InitialCluster {
            state: "new",
            token: "demo-1".into(),
            members: vec![],
        });
        let order = RestoreOrder {
            nonce: Nonce::of(1),
            mode: BootstrapMode::Rollback { cluster: 1 },
            without: BTreeSet::new(),
            source: None,
            until: 0,
            binding: false,
        };
        assert_eq!(too_late(&NodeState::default()), None);
        for state in [
            NodeState {
                initial_cluster: begun,
                ..NodeState::default()
            },
            NodeState {
                order: Some(order),
                ..NodeState::default()
            },
        ] {
            assert_eq!(
                too_late(&state).unwrap().id,
                Some(ReasonId::ExclusionTooLate)
            );
        }
    }

    #[test]
    fn excluded_members_must_not_be_able_to_form_a_quorum() {
        let accepted = |names: &[&str]| -> NodeState {
            let nonces: Nonces = labels(names)
                .into_iter()
                .map(|name| (name, Nonce::of(1)))
                .collect();
            NodeState {
                accepted_ever: vec![nonces],
                ..NodeState::default()
            }
        };
        let all = ["etcd-1", "etcd-2", "etcd-3", "etcd-4", "etcd-5"];
        assert_eq!(said(&["etcd-4", "etcd-5"], 5, &accepted(&all)), None);
        let some = accepted(&["etcd-1", "etcd-2", "etcd-3"]);
        assert!(
            said(&["etcd-2", "etcd-3"], 5, &some)
                .unwrap()
                .contains("was ready to bootstrap")
        );
    }
}
