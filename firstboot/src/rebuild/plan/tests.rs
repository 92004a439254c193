//! Tests each reason to wait, and all steps of a node that returns to its cluster.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn member(id: u64) -> Member {
    Member {
        id,
        name: format!("etcd-{id}"),
        peer_urls: vec![format!("https://10.0.0.{id}:2380")],
        client_urls: vec![],
        is_learner: false,
    }
}

/// Returns a cluster of nodes 1, 2 and 3, in which node 3 must be rebuilt and the other two are
/// healthy.
fn observed() -> Observed {
    let peer = |id: u64| MemberReport {
        connected: BTreeMap::from([(3 - id, 1)]),
        ..MemberReport::example(7, id, &[1, 2, 3].map(member))
    };
    Observed {
        name: "etcd-3".parse().unwrap(),
        peer_url: "https://10.0.0.3:2380".into(),
        version: "3.5.33".parse().unwrap(),
        free: 1 << 40,
        added: None,
        peers: vec![peer(1), peer(2)],
        clusters: BTreeSet::from([7]),
    }
}

fn members(observed: &mut Observed, members: &[Member]) {
    for peer in &mut observed.peers {
        peer.members = members.to_vec();
    }
}

#[track_caller]
fn waits(change: impl FnOnce(&mut Observed), expected: &str) {
    let mut observed = observed();
    change(&mut observed);
    let RebuildStep::Wait(why) = plan(&observed) else {
        panic!("the node does not wait: {:?}", plan(&observed))
    };
    let why = why.to_string();
    assert!(why.contains(expected), "{why}");
}

#[test]
fn a_node_is_removed_added_and_joins() {
    let mut now = observed();
    assert_eq!(plan(&now), RebuildStep::Remove(3));
    members(&mut now, &[member(1), member(2)]);
    assert_eq!(plan(&now), RebuildStep::Add(7));
    let new = Member {
        id: 9,
        name: String::new(),
        is_learner: true,
        ..member(3)
    };
    members(&mut now, &[member(1), member(2), new]);
    assert_eq!(
        plan(&now),
        RebuildStep::Remove(9),
        "a firstboot with another disk id may have added it"
    );
    now.added = Some(9);
    let list = [1, 2, 3].map(|id| (format!("etcd-{id}"), format!("https://10.0.0.{id}:2380")));
    assert_eq!(plan(&now), RebuildStep::Join(list.to_vec()));
}

#[test]
fn no_step_is_taken_without_a_quorum_that_agrees() {
    waits(|now| now.peers.clear(), "[no-quorum]");
    waits(
        |now| now.peers.truncate(1),
        "only 1 of 3 voters are healthy; 2 are required [no-quorum]",
    );
    waits(
        |now| now.clusters = BTreeSet::from([7, 8]),
        "[clusters-differ]",
    );
    waits(
        |now| now.peers[1].members.truncate(2),
        "[member-lists-differ]",
    );
}

#[test]
fn a_second_machine_with_this_identity_is_detected() {
    let mut now = observed();
    now.peers[0].connected = BTreeMap::from([(3, 1)]);
    let RebuildStep::DuplicateMember(why) = plan(&now) else {
        panic!("{:?}", plan(&now))
    };
    assert!(
        why.text.starts_with(
            "etcd-1 is still connected to this node's member 3 at https://10.0.0.3:2380"
        ),
        "{why}"
    );
}

#[test]
fn a_node_with_another_address_replaces_its_old_member() {
    let mut now = observed();
    now.peer_url = "https://10.0.0.33:2380".into();
    assert_eq!(plan(&now), RebuildStep::Remove(3));
    now.peers.push(MemberReport {
        member_id: 3,
        name: "etcd-3".into(),
        url: "https://10.0.0.3:2379".into(),
        ..now.peers[1].clone()
    });
    let RebuildStep::DuplicateMember(why) = plan(&now) else {
        panic!("{:?}", plan(&now))
    };
    assert!(
        why.text
            .starts_with("the etcd at https://10.0.0.3:2379 answers as this node's member 3"),
        "{why}"
    );
    now.peers.pop();
    members(&mut now, &[member(1), member(2)]);
    assert_eq!(plan(&now), RebuildStep::Add(7));
    waits(
        |now| now.peer_url = "https://10.0.0.2:2380".into(),
        "this node's name or its address https://10.0.0.2:2380: 2 at https://10.0.0.2:2380, 3 at https://10.0.0.3:2380",
    );
}

#[test]
fn a_node_never_joins_another_cluster_at_an_address_of_its_own_cluster() {
    let other = Member {
        name: "other".into(),
        ..member(1)
    };
    waits(
        |now| {
            now.peers.truncate(1);
            members(now, &[other]);
        },
        "other of the cluster 7 answers at https://10.0.0.1:2379, the address of etcd-1",
    );
}

#[test]
fn only_one_learner_is_added_at_a_time() {
    let learner = Member {
        is_learner: true,
        ..member(4)
    };
    waits(
        |now| members(now, &[member(1), member(2), member(3), learner]),
        "[learner-pending]",
    );
}

#[test]
fn a_node_that_could_not_run_as_a_member_does_not_join() {
    waits(
        |now| now.free = 100 << 20,
        "this node has 100 MiB free for etcd",
    );
    waits(
        |now| now.peers.iter_mut().for_each(|peer| peer.ahead = -60),
        "the smallest difference is -60 s",
    );
    let mut one_is_off = observed();
    one_is_off.peers[0].ahead = 60;
    assert_eq!(plan(&one_is_off), RebuildStep::Remove(3));
}

#[test]
fn a_node_joins_only_with_a_version_that_all_members_support() {
    let version = |text: &str| text.parse().unwrap();
    waits(
        |now| now.version = version("3.7.1"),
        "etcd-1 is etcd 3.5.33, and 3.7.1 cannot run alongside it",
    );
    waits(
        |now| now.version = version("3.4.45"),
        "the cluster's version is 3.5, and 3.4.45 is older",
    );
    let newer = |now: &mut Observed| now.version = version("3.6.14");
    waits(
        |now| {
            newer(now);
            now.peers[1].version = version("3.5.1");
        },
        "etcd-2 is etcd 3.5.1, and 3.6.14 cannot run alongside it: 3.6 requires that every 3.5 member runs 3.5.32 or later",
    );
    waits(
        |now| now.peers[0].downgrade = Some(5),
        "a downgrade is in progress",
    );
    let mut now = observed();
    newer(&mut now);
    assert_eq!(plan(&now), RebuildStep::Remove(3));
    // The version of the member that is down is unknown.
    waits(
        |now| {
            newer(now);
            members(now, &[1, 2, 3, 4, 5].map(member));
            now.peers.push(MemberReport {
                member_id: 4,
                name: "etcd-4".into(),
                ..now.peers[1].clone()
            });
        },
        "etcd-5 does not answer: to change the minor version, firstboot must know the version of \
             every member",
    );
}

proptest! {
    /// The test checks three requirements for every observation. A member is removed or added only
    /// if the healthy voters are a quorum before and after the change. Only a member with this
    /// node's own name or address is removed. There is never more than one learner.
    #[test]
    fn no_step_puts_a_quorum_at_risk(
        kinds in prop::collection::vec(0..3_u8, 7),
        others in prop::collection::vec(0..3_u8, 7),
        same in any::<bool>(),
        answers in prop::collection::vec(any::<bool>(), 7),
        connected in prop::collection::vec(any::<bool>(), 7),
        added in prop::option::of(1..8_u64),
        clusters in prop::collection::btree_set(7..9_u64, 0..3),
        moved in any::<bool>(),
    ) {
        // In `kinds`, 0 means no member, 1 a voter, and 2 a learner.
        let list = |kinds: &[u8]| -> Vec<Member> {
            let listed = (1..).zip(kinds).filter(|(_, kind)| **kind > 0);
            listed.map(|(id, kind)| Member { is_learner: *kind == 2, ..member(id) }).collect()
        };
        let mut now = observed();
        if moved {
            now.peer_url = "https://10.0.0.33:2380".into();
        }
        let model = now.peers[0].clone();
        let who = (1..=7_u64).zip(&answers).zip(&connected).filter(|((id, answers), _)| **answers && *id != 3);
        now.peers = who.map(|((id, _), connected)| MemberReport {
            name: format!("etcd-{id}"),
            member_id: id,
            members: list(if same || id < 3 { &kinds } else { &others }),
            connected: if *connected { BTreeMap::from([(3, 1)]) } else { BTreeMap::new() },
            ..model.clone()
        }).collect();
        (now.added, now.clusters) = (added, clusters);

        let step = plan(&now);
        let listed = now.peers.first().map_or_else(Vec::new, |peer| peer.members.clone());
        let voters: BTreeSet<u64> = listed.iter().filter(|member| !member.is_learner).map(|member| member.id).collect();
        let well = now.peers.iter().filter(|peer| voters.contains(&peer.member_id)).count();
        let own = listed.iter().any(|member| member.id == 3);
        if matches!(step, RebuildStep::Remove(_) | RebuildStep::Add(_)) {
            let after = voters.iter().filter(|id| **id != 3).count();
            prop_assert!(well > voters.len() / 2 && well > after / 2, "{:?}", step);
            prop_assert!(listed.iter().all(|member| !member.is_learner || member.id == 3));
            prop_assert!(now.clusters.len() <= 1 && now.peers.iter().all(|peer| peer.members == listed));
        }
        match step {
            RebuildStep::Remove(id) => {
                prop_assert!(id == 3 && own && added != Some(3));
                prop_assert!(now.peers.iter().all(|peer| peer.connected.is_empty()));
            }
            RebuildStep::Add(_) => prop_assert!(!own),
            RebuildStep::Join(members) => prop_assert!(own && added == Some(3) && members.len() == listed.len()),
            RebuildStep::DuplicateMember(_) => prop_assert!(own && now.peers.iter().any(|peer| !peer.connected.is_empty())),
            RebuildStep::Wait(_) | RebuildStep::CompactRaftLog => {}
        }
    }
}

#[test]
fn a_log_that_may_have_v2_requests_is_compacted_before_3_7_joins() {
    let step = |own: &str, others: &str, index: [u64; 2]| {
        let mut now = observed();
        now.version = own.parse().unwrap();
        for (peer, index) in now.peers.iter_mut().zip(index) {
            peer.version = others.parse().unwrap();
            peer.cluster_minor = Some(6);
            peer.index = index;
        }
        plan(&now)
    };
    let (compact, goes_on) = (RebuildStep::CompactRaftLog, RebuildStep::Remove(3));
    for (own, others, index, expected) in [
        ("3.7.3", "3.6.16", [9, 9], &compact),
        ("3.7.3", "3.6.16", [101, 100], &compact),
        ("3.7.3", "3.6.16", [101, 101], &goes_on),
        ("3.6.16", "3.6.16", [9, 9], &goes_on),
        // A member with etcd 3.7 has read the log, so this node's etcd 3.7 can also read the log.
        ("3.7.3", "3.7.3", [9, 9], &goes_on),
    ] {
        assert_eq!(
            &step(own, others, index),
            expected,
            "{own} {others} {index:?}"
        );
    }
}
