//! Tests each reason not to leave, and checks that no observation leads to the removal of a member
//! that the quorum needs.

use proptest::prelude::*;

use super::*;
use crate::etcd::Member;

fn member(id: u64) -> Member {
    Member {
        id,
        name: format!("etcd-{id}"),
        ..Member::default()
    }
}

fn peer(id: u64, members: &[Member]) -> MemberReport {
    MemberReport {
        index: 100 + id,
        ..MemberReport::example(7, id, members)
    }
}

/// Returns an observation in which the members 1, 2 and 3 are healthy and member 3 leaves.
fn observed() -> Observed {
    let members = [1, 2, 3].map(member);
    Observed {
        member: 3,
        cluster: Some(7),
        leader: Some(1),
        alone: false,
        peers: vec![peer(1, &members), peer(2, &members)],
        other_stops: None,
    }
}

#[track_caller]
fn waits(change: impl FnOnce(&mut Observed), expected: ReasonId) {
    let mut observed = observed();
    change(&mut observed);
    let LeaveStep::Wait(why) = plan(&observed) else {
        panic!("the member does not wait: {:?}", plan(&observed))
    };
    assert_eq!(why.id, Some(expected), "{why}");
}

#[test]
fn a_leader_transfers_the_leadership_before_it_is_removed() {
    let mut now = observed();
    now.leader = Some(3);
    assert_eq!(
        plan(&now),
        LeaveStep::TransferLeadership(2),
        "member 2 has applied the most entries"
    );
    now.leader = Some(2);
    assert_eq!(
        plan(&now),
        LeaveStep::Remove("https://10.0.0.1:2379".into())
    );
    now.leader = None;
    assert_eq!(
        plan(&now),
        LeaveStep::Remove("https://10.0.0.1:2379".into()),
        "etcd on this node is down, so it does not lead"
    );
    now.peers = vec![peer(1, &[1, 2].map(member)), peer(2, &[1, 2].map(member))];
    assert_eq!(plan(&now), LeaveStep::AlreadyRemoved);
}

#[test]
fn a_member_stays_while_another_member_is_unhealthy() {
    waits(|now| now.peers.clear(), ReasonId::NoQuorum);
    waits(|now| now.peers.truncate(1), ReasonId::MembersUnhealthy);
    waits(
        |now| now.peers[0].members.truncate(2),
        ReasonId::MemberListsDiffer,
    );
    let with_learner = [
        member(1),
        member(2),
        member(3),
        Member {
            is_learner: true,
            ..member(4)
        },
    ];
    waits(
        |now| now.peers = vec![peer(1, &with_learner), peer(2, &with_learner)],
        ReasonId::LearnerPending,
    );
    let turn = || Some(ReasonId::UpdateTurn.because("etcd-1 has held the turn"));
    waits(|now| now.other_stops = turn(), ReasonId::UpdateTurn);
    waits(
        |now| (now.other_stops, now.leader) = (turn(), Some(3)),
        ReasonId::UpdateTurn,
    );
    let alone = Observed {
        alone: true,
        peers: vec![],
        leader: Some(3),
        ..observed()
    };
    let elsewhere = Observed {
        cluster: Some(8),
        ..observed()
    };
    assert!(
        matches!(plan(&elsewhere), LeaveStep::Refuse(why) if why.id == Some(ReasonId::AnotherCluster))
    );
    assert!(matches!(plan(&alone), LeaveStep::Refuse(why) if why.id == Some(ReasonId::LastVoter)));
}

proptest! {
    /// Every removal leaves a cluster whose voters are all healthy and therefore have a quorum.
    #[test]
    fn no_removal_breaks_a_quorum(
        lists in prop::collection::vec((any::<bool>(), prop::collection::vec(0..3_u8, 7)), 0..7),
        answers in prop::collection::vec(any::<bool>(), 7),
        leader in prop::option::of(1..8_u64),
        alone in any::<bool>(),
        same in any::<bool>(),
    ) {
        // In `kinds`, 0 means no member, 1 a voter, and 2 a learner.
        let list = |kinds: &[u8]| -> Vec<Member> {
            let listed = (1..).zip(kinds).filter(|(_, kind)| **kind > 0);
            listed.map(|(id, kind)| Member { is_learner: *kind == 2, ..member(id) }).collect()
        };
        let peers = (2..).zip(&lists).filter(|(id, _)| answers[usize::try_from(*id).unwrap() - 1]);
        let peers = peers.map(|(id, (_, kinds))| peer(id, &list(if same { &lists[0].1 } else { kinds }))).collect();
        let observed = Observed { member: 1, cluster: Some(7), leader, alone, peers, other_stops: None };
        let step = plan(&observed);
        let voters: Vec<u64> = observed.peers.iter().take(1).flat_map(|peer| &peer.members)
            .filter(|member| !member.is_learner).map(|member| member.id).collect();
        let well = |id: &u64| observed.peers.iter().any(|peer| peer.member_id == *id);
        match step {
            LeaveStep::Remove(_) => {
                prop_assert!(voters.iter().filter(|id| **id != 1).all(well));
                prop_assert!(leader != Some(1) && !alone && !observed.peers.is_empty());
            }
            LeaveStep::TransferLeadership(to) => prop_assert!(leader == Some(1) && to != 1 && well(&to)),
            LeaveStep::AlreadyRemoved => prop_assert!(!lists_one(&observed)),
            LeaveStep::Refuse(_) => prop_assert!(alone),
            LeaveStep::Wait(_) => {}
        }
    }
}

fn lists_one(observed: &Observed) -> bool {
    observed
        .peers
        .iter()
        .any(|peer| peer.members.iter().any(|member| member.id == 1))
}
