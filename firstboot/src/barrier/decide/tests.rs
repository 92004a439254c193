//! Tests every combination of the states that three members can remember and report, and checks
//! each resulting action.

use super::*;

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn proposal(number: u64, nonces: [u128; 3]) -> Proposal {
    let nonces: Nonces = ["a", "b", "c"]
        .map(label)
        .into_iter()
        .zip(nonces.map(Nonce::of))
        .collect();
    let (id, token) = (Sha256::of(&number.to_be_bytes()), format!("t{number}"));
    Proposal {
        id,
        nonces,
        mode: BootstrapMode::New,
        token,
        cluster_id: number,
    }
}

/// Returns every state that the journal of `a` may record: no proposal, one proposal or two, with
/// or without the member `c`.
fn memories() -> Vec<LocalState> {
    let (one, two) = (proposal(1, [1, 1, 1]), proposal(2, [1, 2, 1]));
    let pasts = [
        vec![],
        vec![one.clone()],
        vec![two.clone()],
        vec![one.clone(), two.clone()],
        vec![two, one],
    ];
    let mut memories = Vec::new();
    for proposals in pasts {
        for without in [BTreeSet::new(), BTreeSet::from([label("c")])] {
            let all = BTreeSet::from(["a", "b", "c"].map(label));
            let initial = &all - &without;
            let (name, nonce, proposals) = (label("a"), Nonce::of(1), proposals.clone());
            memories.push(LocalState {
                name,
                initial,
                without,
                nonce,
                only_joins: false,
                proposals,
                mode: BootstrapMode::New,
            });
        }
    }
    memories
}

/// Returns all possible observations of another member that has one of these orders. Proposal 3 and
/// cluster 3 are unknown to this node.
fn observations(tasks: &[BootstrapMode]) -> Vec<PeerObservation> {
    let mut all = vec![None];
    let accepted = [1, 2, 3].map(|number: u64| BarrierPhase::Accepted {
        proposal: Sha256::of(&number.to_be_bytes()),
    });
    for nonce in [1, 2].map(Nonce::of) {
        for phase in [BarrierPhase::NotAccepted].into_iter().chain(accepted) {
            for without in [BTreeSet::new(), BTreeSet::from([label("c")])] {
                for mode in tasks.iter().copied() {
                    all.push(Some(PeerState::Firstboot {
                        nonce,
                        phase,
                        without: without.clone(),
                        mode,
                    }));
                }
            }
        }
    }
    all.extend([1, 2, 3].map(|cluster_id| Some(PeerState::Etcd { cluster_id })));
    all.into_iter()
        .flat_map(|state| {
            [true, false].map(|answered_last_probe| PeerObservation {
                state: state.clone(),
                answered_last_probe,
            })
        })
        .collect()
}

fn clusters(observations: &PeerObservations) -> BTreeSet<u64> {
    let id = |peer: &PeerObservation| {
        if let Some(PeerState::Etcd { cluster_id }) = peer.state {
            Some(cluster_id)
        } else {
            None
        }
    };
    observations.values().filter_map(id).collect()
}

/// Returns the nonce and the phase that a member reported. Returns `None` if firstboot is not
/// running on the member, or if the member's order or excluded members do not match this node's.
fn agreed<'a>(
    local: &LocalState,
    peer: &'a PeerObservation,
) -> Option<(&'a Nonce, &'a BarrierPhase)> {
    match &peer.state {
        Some(PeerState::Firstboot {
            nonce,
            phase,
            without,
            mode,
        }) if *without == local.without && local.mode.merge(*mode).is_some() => {
            Some((nonce, phase))
        }
        _ => None,
    }
}

fn check(local: &LocalState, observations: &PeerObservations) {
    let step = decide(local, observations);
    let live_clusters = clusters(observations);
    let said = format!("{step:?} from {local:?} and {observations:?}");
    let strangers = live_clusters.iter().any(|id| {
        !local
            .proposals
            .iter()
            .any(|proposal| proposal.cluster_id == *id)
    });
    let others = || local.others().map(|name| &observations[name]);
    match step {
        Action::CarryOut(id) => {
            let proposal = local.proposals.iter().find(|proposal| proposal.id == id);
            let proposal =
                proposal.unwrap_or_else(|| panic!("the node never accepted the proposal: {said}"));
            let follows = live_clusters == BTreeSet::from([proposal.cluster_id]);
            let begins = live_clusters.is_empty()
                && local.proposals.last() == Some(proposal)
                && others().all(|peer| {
                    agreed(local, peer)
                        .is_some_and(|(_, p)| *p == BarrierPhase::Accepted { proposal: id })
                });
            assert!(follows || begins, "{said}");
        }
        Action::AbandonOrder(_) => panic!("{said}"),
        Action::AcceptProposal(nonces, mode) => {
            assert_eq!(mode, BootstrapMode::New);
            assert!(
                live_clusters.is_empty()
                    && !local
                        .proposals
                        .iter()
                        .any(|proposal| proposal.nonces == nonces),
                "{said}"
            );
            assert!(
                nonces.keys().eq(&local.initial) && nonces[&local.name] == local.nonce,
                "{said}"
            );
            for name in local.others() {
                let seen = agreed(local, &observations[name]).map(|(nonce, _)| nonce);
                assert!(
                    observations[name].answered_last_probe && seen == Some(&nonces[name]),
                    "{said}"
                );
            }
        }
        Action::JoinRunningCluster => assert!(strangers || live_clusters.len() > 1, "{said}"),
        Action::Wait => assert!(live_clusters.is_empty(), "{said}"),
    }
    assert!(
        !strangers || decide(local, observations) == Action::JoinRunningCluster,
        "the node must join the unknown cluster: {said}"
    );
}

#[test]
fn every_combination_of_states_leads_to_an_allowed_action() {
    let mut combinations = 0;
    for local in memories() {
        for b in observations(&[BootstrapMode::New]) {
            for c in observations(&[BootstrapMode::New]) {
                check(
                    &local,
                    &PeerObservations::from([(label("b"), b.clone()), (label("c"), c)]),
                );
                combinations += 1;
            }
        }
    }
    assert_eq!(combinations, 10 * 40 * 40);
}

#[test]
fn a_lone_member_agrees_with_itself() {
    let mut local = memories().remove(0);
    local.initial = BTreeSet::from([label("a")]);
    let Action::AcceptProposal(nonces, _) = decide(&local, &PeerObservations::new()) else {
        panic!("not ready")
    };
    assert_eq!(nonces, Nonces::from([(label("a"), Nonce::of(1))]));
    local.proposals.push(Proposal {
        nonces,
        ..proposal(1, [1, 1, 1])
    });
    assert_eq!(
        decide(&local, &PeerObservations::new()),
        Action::CarryOut(local.proposals[0].id)
    );
}

#[test]
fn a_node_that_was_a_member_bootstraps_no_cluster() {
    let mut local = memories().remove(0);
    local.only_joins = true;
    let empty = PeerObservation {
        state: Some(PeerState::Firstboot {
            nonce: Nonce::of(1),
            phase: BarrierPhase::NotAccepted,
            without: BTreeSet::new(),
            mode: BootstrapMode::New,
        }),
        answered_last_probe: true,
    };
    let mut observations =
        PeerObservations::from(["b", "c"].map(|name| (label(name), empty.clone())));
    assert_eq!(decide(&local, &observations), Action::Wait);
    observations.insert(
        label("b"),
        PeerObservation {
            state: Some(PeerState::Etcd { cluster_id: 1 }),
            answered_last_probe: true,
        },
    );
    assert_eq!(decide(&local, &observations), Action::JoinRunningCluster);
}

fn restore(number: u8) -> BootstrapMode {
    BootstrapMode::Restore {
        snapshot: Sha256::of(&[number]),
        seen: Some(1),
    }
}

/// Checks the action of a node `a` that has a restore order.
fn check_ordered(local: &LocalState, observations: &PeerObservations) {
    let step = decide(local, observations);
    let said = format!("{step:?} from {local:?} and {observations:?}");
    let others = || local.others().map(|name| &observations[name]);
    let back = |peer: &PeerObservation| matches!((&peer.state, local.mode), (Some(PeerState::Etcd { cluster_id }), BootstrapMode::Rollback { cluster }) if *cluster_id == cluster);
    match step {
        Action::CarryOut(id) => {
            let proposal = local
                .proposals
                .iter()
                .find(|proposal| proposal.id == id)
                .unwrap_or_else(|| panic!("{said}"));
            let follows = matches!(local.mode, BootstrapMode::Restore { .. })
                && clusters(observations).contains(&proposal.cluster_id);
            let accepted = |peer: &PeerObservation| {
                agreed(local, peer)
                    .is_some_and(|(_, p)| *p == BarrierPhase::Accepted { proposal: id })
            };
            let begins = local.proposals.last() == Some(proposal)
                && others().all(|peer| accepted(peer) || back(peer));
            assert!(follows || begins, "{said}");
        }
        Action::AcceptProposal(nonces, mode) => {
            assert!(
                local.mode.merge(mode) == Some(mode) && nonces[&local.name] == local.nonce,
                "{said}"
            );
            for (name, peer) in observations {
                if local.initial.contains(name) {
                    let seen = agreed(local, peer).map(|(nonce, _)| nonce);
                    assert!(
                        peer.answered_last_probe
                            && (seen.is_some() && seen == nonces.get(name) || back(peer)),
                        "{said}"
                    );
                } else {
                    let runs = matches!(peer.state, Some(PeerState::Etcd { .. }))
                        && peer.answered_last_probe;
                    assert!(!runs || back(peer), "an excluded member runs etcd: {said}");
                }
            }
        }
        Action::AbandonOrder(name) => {
            let peer = &observations[&name];
            assert!(
                peer.answered_last_probe
                    && local.initial.contains(&name)
                    && agreed(local, peer).is_none(),
                "{said}"
            );
            let etcd = matches!(peer.state, Some(PeerState::Etcd { .. }));
            assert_eq!(etcd, !local.proposals.is_empty(), "{said}");
        }
        Action::JoinRunningCluster => panic!("{said}"),
        Action::Wait => {}
    }
}

#[test]
fn a_node_with_an_order_acts_only_with_all_others_or_on_an_accepted_proposal() {
    for mode in [restore(1), BootstrapMode::Rollback { cluster: 3 }] {
        for mut local in memories() {
            local.mode = mode;
            for b in observations(&[BootstrapMode::New, mode, restore(2)]) {
                for c in observations(&[BootstrapMode::New, mode, restore(2)]) {
                    check_ordered(
                        &local,
                        &PeerObservations::from([(label("b"), b.clone()), (label("c"), c)]),
                    );
                }
            }
        }
    }
}

#[test]
fn orders_for_two_snapshots_are_detected_at_once() {
    let mut local = memories().remove(0);
    local.mode = restore(1);
    let ordered = |mode| {
        let state = PeerState::Firstboot {
            nonce: Nonce::of(1),
            phase: BarrierPhase::NotAccepted,
            without: BTreeSet::new(),
            mode,
        };
        PeerObservation {
            state: Some(state),
            answered_last_probe: true,
        }
    };
    let both = |b, c| PeerObservations::from([(label("b"), ordered(b)), (label("c"), ordered(c))]);
    assert_eq!(
        decide(&local, &both(restore(1), restore(2))),
        Action::AbandonOrder(label("c"))
    );
    assert_eq!(
        decide(&local, &both(restore(1), BootstrapMode::New)),
        Action::Wait
    );
    assert!(matches!(
        decide(&local, &both(restore(1), restore(1))),
        Action::AcceptProposal(..)
    ));
}

#[test]
fn a_single_member_rolls_back_to_members_that_already_run() {
    let mut local = memories().remove(0);
    local.mode = BootstrapMode::Rollback { cluster: 3 };
    let there = || PeerObservation {
        state: Some(PeerState::Etcd { cluster_id: 3 }),
        answered_last_probe: true,
    };
    let observations = PeerObservations::from([(label("b"), there()), (label("c"), there())]);
    let Action::AcceptProposal(nonces, mode) = decide(&local, &observations) else {
        panic!("not ready")
    };
    local.proposals.push(Proposal {
        nonces,
        mode,
        cluster_id: 3,
        ..proposal(1, [1, 1, 1])
    });
    assert_eq!(
        decide(&local, &observations),
        Action::CarryOut(local.proposals[0].id)
    );
}

#[test]
fn a_node_bootstraps_only_after_it_has_probed_the_excluded_members() {
    let local = memories().remove(1);
    assert_eq!(local.without, BTreeSet::from([label("c")]));
    let state = PeerState::Firstboot {
        nonce: Nonce::of(1),
        phase: BarrierPhase::NotAccepted,
        without: local.without.clone(),
        mode: BootstrapMode::New,
    };
    let b = PeerObservation {
        state: Some(state),
        answered_last_probe: true,
    };
    let mut observations = PeerObservations::from([(label("b"), b)]);
    assert_eq!(decide(&local, &observations), Action::Wait);
    observations.insert(label("c"), PeerObservation::default());
    let action = decide(&local, &observations);
    assert!(matches!(action, Action::AcceptProposal(..)));
    let runs = PeerObservation {
        state: Some(PeerState::Etcd { cluster_id: 1 }),
        answered_last_probe: true,
    };
    observations.insert(label("c"), runs);
    assert_eq!(decide(&local, &observations), Action::JoinRunningCluster);
}
