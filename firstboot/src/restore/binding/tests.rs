//! Tests when a restore is binding.

use super::*;
use crate::domain::InitialCluster;
use crate::journal::ArchivedData;

fn restore(taking_part: usize, returning: usize, staying: usize) -> Counts {
    Counts {
        taking_part,
        returning,
        staying,
        restored: taking_part,
        already_restored: 0,
    }
}

/// Tries every number of nodes that carry out the restore.
#[test]
fn an_order_is_binding_exactly_if_two_clusters_could_have_a_quorum() {
    for taking_part in 1..8 {
        for returning in 0..=taking_part {
            for (staying, restored) in (0..6).flat_map(|n| (1..8).map(move |m| (n, m))) {
                for already_restored in 0..=restored {
                    let counts = Counts {
                        taking_part,
                        returning,
                        staying,
                        restored,
                        already_restored,
                    };
                    let two = (1..taking_part).any(|carry_out| {
                        let returned = returning.min(taking_part - carry_out);
                        carry_out + already_restored > restored / 2
                            && 2 * (staying + returned) > staying + returning
                    });
                    assert_eq!(counts.allow_two_clusters(), two, "{counts:?}");
                }
            }
        }
    }
}

#[test]
fn a_restore_of_all_members_of_a_small_cluster_or_of_one_node_alone_is_not_binding() {
    for members in 1..8 {
        assert!(!restore(members, members, 0).allow_two_clusters());
        assert!(!restore(1, 1, members).allow_two_clusters());
    }
    assert!(!restore(2, 2, 1).allow_two_clusters());
    assert!(!restore(4, 4, 1).allow_two_clusters());
    // Two of five members are excluded, or two voters are not in the recipe.
    assert!(restore(3, 3, 2).allow_two_clusters());
    // Only three of five members of the recipe were voters.
    assert!(restore(5, 3, 0).allow_two_clusters());
}

fn labels(names: &[&str]) -> BTreeSet<Label> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn the_voters_of_the_previous_cluster_are_counted() {
    let cluster = recipes::recipe::read(include_str!("../../../../recipes/three-node.toml"))
        .recipe
        .unwrap()
        .cluster_document();
    let voter = |name: &&str| Member {
        name: (*name).to_owned(),
        ..Member::default()
    };
    let none = NodeState::default();
    let binding = |names: &[&str], without: &[&str]| {
        let members: Vec<Member> = names.iter().map(voter).collect();
        is_binding(&labels(without), false, &cluster, Some(&members), &none)
    };
    let grown = ["etcd-1", "etcd-2", "etcd-3", "etcd-4", "etcd-5"];
    assert!(!binding(&grown[..3], &[]));
    assert!(binding(&grown, &[]), "two voters are not in the recipe");
    assert!(binding(&grown[..1], &[]), "only one member was a voter");
    assert!(!binding(&grown[..3], &["etcd-3"]));
    assert!(!is_binding(&labels(&[]), false, &cluster, None, &none));

    // Two members of the previous cluster run again in the cluster to which the others roll back.
    let members = grown.map(|name| (name.to_owned(), String::new())).to_vec();
    let archived = ArchivedData {
        path: "/a".into(),
        initial_cluster: InitialCluster {
            state: "new",
            token: String::new(),
            members,
        },
        cluster_id: 1,
        member_id: None,
        revision: 0,
        data: None,
        etcd_version: None,
    };
    let state = NodeState {
        archived: Some(archived),
        ..NodeState::default()
    };
    let now: Vec<Member> = grown[..3].iter().map(voter).collect();
    assert!(is_binding(&labels(&[]), true, &cluster, Some(&now), &state));
    assert!(!is_binding(
        &labels(&[]),
        false,
        &cluster,
        Some(&now),
        &state
    ));
}
