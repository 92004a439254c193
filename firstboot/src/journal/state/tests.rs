//! Tests which states result from sequences of events.

use super::super::disk_id_file::DiskIdMatch;
use super::super::disk_state::{DiskState, classify_disk};
use super::*;
use crate::data::{Contents, DataCheck};
use crate::domain::Nonce;

fn state(events: Vec<Event>) -> NodeState {
    NodeState::from(
        &events
            .into_iter()
            .map(|event| Entry { at: 0, event })
            .collect::<Vec<_>>(),
    )
}

/// Returns the events of a member of cluster 1 that has executed a restore order, and is now a
/// member of cluster 2.
pub(crate) fn restored() -> Vec<Event> {
    let members = vec![("a".to_owned(), "https://a:2380".to_owned())];
    let snapshot = recipes::Sha256::of(b"s");
    let order = RestoreOrder {
        nonce: Nonce::of(2),
        mode: BootstrapMode::Restore {
            snapshot,
            seen: Some(5),
        },
        without: BTreeSet::new(),
        source: None,
        until: 0,
        binding: false,
    };
    let data_swap = DataSwap {
        from: "/new".into(),
        archive_to: Some("/aside/1".into()),
        token: "r".to_owned(),
        members: members.clone(),
        cluster: 2,
        member: Some(20),
        revision: 9,
        data: None,
    };
    let nonces = Nonces::from([("a".parse().unwrap(), Nonce::of(2))]);
    vec![
        Event::DiskIdDrawn {
            disk_id: DiskId::of(1),
        },
        Event::Bootstrap {
            token: "t".to_owned(),
            members,
        },
        Event::EtcdVersionRecorded {
            etcd: "3.5.1".parse().unwrap(),
        },
        Event::Healthy {
            cluster: 1,
            member: 10,
        },
        Event::ProposalAccepted {
            nonces: nonces.clone(),
            mode: BootstrapMode::New,
        },
        Event::RestoreOrdered(Box::new(order.clone())),
        Event::ProposalAccepted {
            nonces,
            mode: order.mode,
        },
        Event::SwapBegun(Box::new(data_swap)),
        Event::SwapDone,
    ]
}

#[test]
fn a_restored_node_is_a_member_of_the_new_cluster_and_can_roll_back() {
    let state = state(restored());
    assert!(state.order.is_none() && state.swap.is_none() && !state.was_healthy);
    assert_eq!(
        (state.cluster_id, state.member_id, state.revision),
        (Some(2), Some(20), 9)
    );
    let archived = state.archived.clone().unwrap();
    assert_eq!(
        (archived.path, archived.cluster_id, archived.member_id),
        ("/aside/1".into(), 1, Some(10))
    );
    assert_eq!(
        (
            archived.initial_cluster.state,
            archived.initial_cluster.token.as_str()
        ),
        ("new", "t")
    );
    assert_eq!(
        (
            state.etcd_version,
            archived.etcd_version.map(|etcd| etcd.patch)
        ),
        (None, Some(1))
    );
    // A member that has lost its data must not start with an empty log, because the other members
    // would mistake this log for the member's old log.
    for (contents, check) in [
        (Contents::Empty, DataCheck::Unused),
        (Contents::NoWal, DataCheck::Incomplete),
    ] {
        let disk_state = classify_disk(&state, contents, check, DiskIdMatch::Matches);
        assert_eq!(
            disk_state,
            DiskState::NoData {
                disk_id: None,
                has_data_to_archive: contents == Contents::NoWal
            }
        );
    }
}

/// Clients have seen the revisions after the restore, so a later restore must continue above them.
#[test]
fn the_revision_of_a_restore_outlives_its_data() {
    let mut rolled_back = restored();
    let back = DataSwap {
        from: "/aside/1".into(),
        archive_to: Some("/aside/2".into()),
        token: "t".to_owned(),
        members: Vec::new(),
        cluster: 1,
        member: Some(10),
        revision: 0,
        data: None,
    };
    rolled_back.extend([Event::SwapBegun(Box::new(back)), Event::SwapDone]);
    assert_eq!(state(rolled_back.clone()).archived.unwrap().revision, 9);
    let disk_id = DiskId::of(3);
    for event in [Event::DiskIdDrawn { disk_id }, Event::Rejoin { member: 20 }] {
        for mut events in [restored(), rolled_back.clone()] {
            assert_eq!(state(events.clone()).revision, 9);
            events.push(event.clone());
            assert_eq!(state(events).revision, 9, "{event:?}");
        }
    }
}

#[test]
fn the_ids_of_a_member_that_was_never_healthy_follow_from_the_agreement() {
    let begun = restored()[..2].to_vec();
    let ids = state(begun).ids(&"a".parse().unwrap());
    let url = "https://a:2380";
    assert_eq!(
        (ids.member, ids.cluster),
        (
            Some(crate::domain::member_id(url, "t")),
            Some(cluster_id([url], "t"))
        )
    );
}

#[test]
fn the_state_changes_only_once_the_swap_is_done() {
    let events = restored();
    for (cut, order, ready, data_swap) in
        [(6, true, 0, false), (7, true, 1, false), (8, true, 1, true)]
    {
        let mut events = events[..cut].to_vec();
        let now = state(events.clone());
        assert_eq!(
            (
                now.order.is_some(),
                now.accepted_for_order.len(),
                now.swap.is_some()
            ),
            (order, ready, data_swap)
        );
        assert_eq!(
            (now.cluster_id, now.member_id, now.was_healthy),
            (Some(1), Some(10), true)
        );
        events.push(Event::RestoreAbandoned);
        let after = state(events);
        assert!(after.order.is_none() && after.swap.is_none());
        assert_eq!(after.initial_cluster, now.initial_cluster);
    }
}

#[test]
fn a_node_that_left_takes_part_in_a_later_restore() {
    let mut events = restored();
    let order = |event: &Event| matches!(event, Event::RestoreOrdered(_));
    let order = events.iter().position(order).unwrap();
    events.insert(order, Event::Left { member: 10 });
    let after = |count: usize| state(events[..count].to_vec());
    assert_eq!(after(order + 1).has_left(), Some(10));
    for count in order + 2..=events.len() {
        assert_eq!(after(count).has_left(), None, "after {count} events");
    }
    events.truncate(order + 2);
    events.push(Event::RestoreAbandoned);
    assert_eq!(state(events).has_left(), Some(10));
}

#[test]
fn a_node_that_leaves_has_no_order_to_restore() {
    let mut events = restored();
    events.pop();
    assert!(state(events.clone()).order.is_some());
    events.push(Event::Left { member: 10 });
    let after = state(events);
    assert_eq!(
        (after.order, after.swap, after.intent),
        (None, None, MembershipIntent::Left(10))
    );
}

#[test]
fn an_operators_order_remains_until_it_is_executed() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path().join("journal")).unwrap();
    let mut after = |event| {
        journal.add(event).unwrap();
        NodeState::of(&journal)
    };
    after(Event::DiskIdDrawn {
        disk_id: DiskId::of(1),
    });
    after(Event::Join {
        token: "t".into(),
        members: vec![],
    });
    after(Event::Healthy {
        cluster: 1,
        member: 2,
    });
    assert_eq!(
        after(Event::Leave { member: 2 }).intent,
        MembershipIntent::Leaving(2)
    );
    assert_eq!(
        after(Event::LeaveCancelled { member: 2 }).intent,
        MembershipIntent::None
    );
    after(Event::Leave { member: 2 });
    assert_eq!(
        after(Event::Left { member: 2 }).intent,
        MembershipIntent::Left(2)
    );
    let again = after(Event::Rejoin { member: 2 });
    assert_eq!(
        (again.intent, again.disk_id, again.initial_cluster),
        (MembershipIntent::Rejoining, Some(DiskId::of(1)), None)
    );
    let new = after(Event::DiskIdDrawn {
        disk_id: DiskId::of(3),
    });
    assert_eq!((new.intent, new.member_id), (MembershipIntent::None, None));
}
