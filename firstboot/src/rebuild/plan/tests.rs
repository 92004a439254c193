//! Each reason to wait, and the way of a node through all steps.

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

/// A cluster of 1, 2 and 3, in which 3 is to be rebuilt and 1 and 2 are well.
fn observed() -> Observed {
    let peer = |id: u64| Peer {
        name: format!("etcd-{id}").parse().unwrap(),
        cluster_id: 7,
        members: (1..=3).map(member).collect(),
        member_id: id,
        minor: 5,
        database: 1 << 20,
        ahead: 0,
        connected: BTreeMap::from([(3 - id, 1)]),
    };
    Observed {
        name: "etcd-3".parse().unwrap(),
        peer_url: "https://10.0.0.3:2380".into(),
        minor: 5,
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
    let Plan::Wait(why) = plan(&observed) else { panic!("it does not wait: {:?}", plan(&observed)) };
    assert!(why.contains(expected), "{why}");
}

#[test]
fn the_way_back() {
    let mut now = observed();
    assert_eq!(plan(&now), Plan::Remove(3));
    members(&mut now, &[member(1), member(2)]);
    assert_eq!(plan(&now), Plan::Add(7));
    let new = Member { id: 9, name: String::new(), is_learner: true, ..member(3) };
    members(&mut now, &[member(1), member(2), new]);
    assert_eq!(plan(&now), Plan::Remove(9), "added, but nobody knows by which life of this disk");
    now.added = Some(9);
    let list = [1, 2, 3].map(|id| (format!("etcd-{id}"), format!("https://10.0.0.{id}:2380")));
    assert_eq!(plan(&now), Plan::Join(list.to_vec()));
}

#[test]
fn a_quorum_is_never_put_at_risk() {
    waits(|now| now.peers.clear(), "firstboot restore");
    waits(|now| now.peers.truncate(1), "only 1 of its 3 voters are well, and 2 must be");
    waits(|now| now.clusters = BTreeSet::from([7, 8]), "different clusters: 7, 8");
    waits(|now| now.peers[1].members.truncate(2), "do not agree on the member list");
}

#[test]
fn a_second_machine_with_this_identity_is_noticed() {
    waits(|now| now.peers[0].connected = BTreeMap::from([(3, 1)]), "etcd-1 is still connected to the member 3");
}

#[test]
fn learners_queue() {
    let learner = Member { is_learner: true, ..member(4) };
    waits(|now| members(now, &[member(1), member(2), member(3), learner]), "etcd-4 is being added");
}

#[test]
fn who_could_not_run_does_not_join() {
    waits(|now| now.minor = 7, "its etcd is 3.5, and this image's 3.7 cannot join");
    waits(|now| now.minor = 4, "3.4 cannot join");
    waits(|now| now.free = 100 << 20, "must be free here, and 100 are");
    waits(|now| now.peers.iter_mut().for_each(|peer| peer.ahead = -60), "the nearest by -60 s");
    let mut one_is_off = observed();
    one_is_off.peers[0].ahead = 60;
    assert_eq!(plan(&one_is_off), Plan::Remove(3));
    let mut newer = observed();
    newer.minor = 6;
    assert_eq!(plan(&newer), Plan::Remove(3));
}
