//! A model checker for the barrier: it explores every order of events on a few nodes with the real
//! rule (`decide`), and checks every state.
//!
//! A node probes its peers in turn and decides after each answer, so a delayed answer has the same
//! effect as a late decision. A probe of one peer and a decision are separate events in the model,
//! and any event can happen on other nodes between them. Lost messages, partitions and slow nodes
//! are modelled as probes that do not happen. A crash deletes a node's observations but not its
//! journal. A wipe deletes the observations and the journal.

use std::collections::{BTreeSet, HashMap};

use recipes::{ClusterDocument, Label, Sha256};

use super::decide::{Action, LocalState, PeerObservation, PeerObservations, decide};
use super::proposal::Proposal;
use crate::domain::{BootstrapMode, Nonce, Nonces};
use crate::membership::{BarrierPhase, PeerState};
use faults::Faults;
use node::{ModelMessage, Node};
use table::Table;

/// The states of all nodes, each as a number, and the numbers of faults that can still happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    nodes: Vec<u32>,
    wipes: u8,
    crashes: u8,
    exclusions: u8,
    give_ups: u8,
    unexpected_orders: u8,
    /// For each node, the restore order that the operator has not given to the node yet.
    orders: Vec<u8>,
    /// For each proposal, the nodes that have ever accepted the proposal. This field is the number
    /// of an entry in a table, and only the checks use it.
    ever_accepted: u32,
}

/// The initial state of the nodes.
#[derive(Debug, Clone, Copy)]
pub(super) enum InitialState<'a> {
    /// All disks are empty.
    Empty,
    /// All nodes are members of one cluster. For each node, the list contains the number of the
    /// snapshot that the operator will order the node to restore.
    Ordered(&'a [u8]),
}

/// The peers that one probe reaches.
#[derive(Debug, Clone, Copy)]
pub(super) enum ProbeScope {
    /// One peer.
    AtOne,
    /// All peers, in one event. This scope reduces the number of possible orders of events, so the
    /// model can explore larger clusters.
    AtAll,
}

/// The rule that one exploration tests.
pub(super) type Rule = fn(&LocalState, &PeerObservations) -> Action;

/// The rule that firstboot actually uses.
pub(super) const RULE: Rule = decide;

struct Explorer {
    cluster: ClusterDocument,
    names: Vec<Label>,
    rule: Rule,
    nodes: Table<Node>,
    /// The proposals, each as the nonces of all nodes and the snapshot. The number 255 represents a
    /// node that does not take part.
    proposals: Table<(Vec<u8>, u8)>,
    real: Vec<Proposal>,
    /// Sets of pairs. Each pair consists of a proposal and a node that accepted the proposal.
    accepted: Table<BTreeSet<(u8, usize)>>,
    decided: HashMap<(usize, u32), Option<u32>>,
}

const ABSENT: u8 = u8::MAX;

impl Explorer {
    fn new(count: usize, rule: Rule) -> Self {
        let recipe = recipes::recipe::read(include_str!("../../../recipes/three-node.toml"))
            .recipe
            .unwrap();
        let mut cluster = recipe.cluster_document();
        cluster.members = (1..=count)
            .map(|number| recipes::cluster::Member {
                name: format!("n{number}").parse().unwrap(),
                address: format!("10.0.0.{number}").parse().unwrap(),
            })
            .collect();
        let names = cluster
            .members
            .iter()
            .map(|member| member.name.clone())
            .collect();
        Self {
            cluster,
            names,
            rule,
            nodes: Table::new(),
            proposals: Table::new(),
            real: Vec::new(),
            accepted: Table::new(),
            decided: HashMap::new(),
        }
    }

    fn nonce(node: usize, nonce: u8) -> Nonce {
        Nonce::of((node as u128) << 8 | u128::from(nonce))
    }

    fn mode(ordered: u8) -> BootstrapMode {
        if ordered == 0 {
            BootstrapMode::New
        } else {
            BootstrapMode::Restore {
                snapshot: Sha256::of(&[ordered]),
                seen: Some(0),
            }
        }
    }

    fn proposal(&mut self, nonces: &Nonces, ordered: u8) -> u8 {
        let short = self
            .names
            .iter()
            .map(|name| nonces.get(name).map_or(ABSENT, |nonce| low_byte(*nonce)))
            .collect();
        let number = self.proposals.number((short, ordered));
        if self.real.len() == number as usize {
            self.real.push(Proposal::new(
                &self.cluster,
                nonces.clone(),
                Self::mode(ordered),
            ));
        }
        u8::try_from(number).unwrap()
    }

    fn labels(&self, bits: u8) -> BTreeSet<Label> {
        self.names
            .iter()
            .enumerate()
            .filter(|(i, _)| bits & 1 << i != 0)
            .map(|(_, name)| name.clone())
            .collect()
    }

    fn observation(&self, of: usize, reported: ModelMessage) -> PeerObservation {
        let state = match reported {
            ModelMessage::Nothing => None,
            ModelMessage::Etcd(proposal) => Some(PeerState::Etcd {
                cluster_id: self.real[usize::from(proposal)].cluster_id,
            }),
            ModelMessage::Firstboot {
                nonce,
                accepted,
                without,
                ordered,
            } => Some(PeerState::Firstboot {
                nonce: Self::nonce(of, nonce),
                phase: accepted.map_or(BarrierPhase::NotAccepted, |proposal| {
                    BarrierPhase::Accepted {
                        proposal: self.real[usize::from(proposal)].id,
                    }
                }),
                without: self.labels(without),
                mode: Self::mode(ordered),
            }),
        };
        // In the model, every member has answered the last probe, because a probe without an answer
        // can only make a node wait.
        PeerObservation {
            state,
            answered_last_probe: true,
        }
    }

    /// Applies the rule to a node and returns the rule's decision.
    fn step(&self, at: usize, number: u32) -> Action {
        let node = &self.nodes.values[number as usize];
        let without = self.labels(node.without);
        let local = LocalState {
            name: self.names[at].clone(),
            initial: self
                .names
                .iter()
                .filter(|name| !without.contains(name))
                .cloned()
                .collect(),
            without,
            nonce: Self::nonce(at, node.nonce),
            only_joins: false,
            proposals: node
                .proposals
                .iter()
                .map(|proposal| self.real[usize::from(*proposal)].clone())
                .collect(),
            mode: Self::mode(node.ordered),
        };
        let observations = (0..self.names.len()).filter(|other| *other != at);
        let observations = observations
            .map(|other| {
                (
                    self.names[other].clone(),
                    self.observation(other, node.seen[other]),
                )
            })
            .collect();
        (self.rule)(&local, &observations)
    }

    /// Returns the state of a node after its decision, or `None` if the decision does not change
    /// the node. A node makes the same decision whenever it is in the same state, so the decision
    /// is computed only once.
    fn decide_next(&mut self, at: usize, number: u32) -> Option<u32> {
        if let Some(known) = self.decided.get(&(at, number)) {
            return *known;
        }
        let mut after = self.nodes.values[number as usize].clone();
        match self.step(at, number) {
            Action::Wait | Action::JoinRunningCluster => {}
            Action::AcceptProposal(nonces, _) => {
                after.proposals.push(self.proposal(&nonces, after.ordered));
            }
            Action::CarryOut(id) => {
                let proposal = self
                    .real
                    .iter()
                    .position(|proposal| proposal.id == id)
                    .unwrap();
                assert_eq!(
                    self.proposals.values[proposal].1, after.ordered,
                    "the node restored a snapshot other than the snapshot in its order"
                );
                after.started = Some(u8::try_from(proposal).unwrap());
                // The node archives its previous data.
                (after.ordered, after.data) = (0, None);
                after.proposals.clear();
                after.seen.fill(ModelMessage::Nothing);
            }
            Action::AbandonOrder(_) => after.give_up(),
        }
        let after = self.nodes.number(after);
        let after = (after != number).then_some(after);
        self.decided.insert((at, number), after);
        after
    }

    fn first(&mut self, begin: InitialState<'_>, faults: Faults) -> World {
        let count = self.names.len();
        let mut fresh = Node {
            nonce: 0,
            newest: 0,
            without: 0,
            proposals: Vec::new(),
            started: None,
            ordered: 0,
            data: None,
            seen: vec![ModelMessage::Nothing; count],
        };
        let (mut accepted, mut orders) = (BTreeSet::new(), vec![0; count]);
        if let InitialState::Ordered(snapshots) = begin {
            let names = self.names.clone().into_iter().enumerate();
            let proposal = self.proposal(
                &names.map(|(at, name)| (name, Self::nonce(at, 0))).collect(),
                0,
            );
            fresh.started = Some(proposal);
            accepted = (0..count).map(|at| (proposal, at)).collect();
            orders = snapshots.to_vec();
        }
        let fresh = self.nodes.number(fresh);
        let Faults {
            wipes,
            crashes,
            exclusions: switches,
            give_ups,
            unexpected_orders: tells,
        } = faults;
        let ever_accepted = self.accepted.number(accepted);
        World {
            nodes: vec![fresh; count],
            wipes,
            crashes,
            exclusions: switches,
            give_ups,
            unexpected_orders: tells,
            orders,
            ever_accepted,
        }
    }

    fn node(&self, world: &World, at: usize) -> &Node {
        &self.nodes.values[world.nodes[at] as usize]
    }

    fn with(&mut self, world: &World, at: usize, change: impl FnOnce(&mut Node)) -> World {
        let mut node = self.node(world, at).clone();
        change(&mut node);
        let mut after = world.clone();
        after.nodes[at] = self.nodes.number(node);
        after
    }

    /// Returns the states after each possible event that is not a fault.
    fn steps(&mut self, world: &World, scope: ProbeScope) -> Vec<World> {
        let count = self.names.len();
        let mut next = Vec::new();
        for at in (0..count)
            .filter(|at| world.orders[*at] != 0)
            .collect::<Vec<_>>()
        {
            let mut after = self.with(world, at, |node| node.order_restore(world.orders[at]));
            after.orders[at] = 0;
            next.push(after);
        }
        for at in (0..count)
            .filter(|at| self.node(world, *at).started.is_none())
            .collect::<Vec<_>>()
        {
            let reported: Vec<ModelMessage> = (0..count)
                .map(|other| self.node(world, other).announcement())
                .collect();
            let news =
                |node: &Node, other: &usize| *other != at && node.seen[*other] != reported[*other];
            let news: Vec<usize> = (0..count)
                .filter(|other| news(self.node(world, at), other))
                .collect();
            match scope {
                ProbeScope::AtOne => next.extend(
                    news.iter()
                        .map(|o| self.with(world, at, |node| node.seen[*o] = reported[*o])),
                ),
                ProbeScope::AtAll if news.is_empty() => {}
                ProbeScope::AtAll => {
                    next.push(self.with(world, at, |node| {
                        for o in news {
                            node.seen[o] = reported[o];
                        }
                    }));
                }
            }
            if let Some(number) = self.decide_next(at, world.nodes[at]) {
                let mut after = world.clone();
                after.nodes[at] = number;
                if let Some(proposal) = self.nodes.values[number as usize].proposals.last().copied()
                {
                    let mut accepted = self.accepted.values[world.ever_accepted as usize].clone();
                    accepted.insert((proposal, at));
                    after.ever_accepted = self.accepted.number(accepted);
                }
                next.push(after);
            }
        }
        next
    }
}

fn low_byte(nonce: Nonce) -> u8 {
    u8::from_str_radix(&nonce.to_string()[30..], 16).unwrap()
}

mod explore;
mod faults;
mod members;
mod node;
pub(crate) mod table;
mod tests;
