//! A model checker for updates. It explores the possible orders of events on the nodes of a
//! cluster, and checks every state. The nodes of the model decide with firstboot's real code.
//!
//! The following modules decide: `update_keys` (which member may take the turn), `transaction`
//! (which keys etcd compares and changes), `resume` (how an interrupted order continues),
//! `update_turn` (when a rebuilt node releases its turn) and `members::keys` (when etcd may restart
//! for a CA). An action is an event of the model if it takes time between two decisions, or if it
//! ends with a write to the disk or to etcd. A node can be killed or lose its power between any two
//! events.
//!
//! The model makes three simplifications. Raft is reduced to a quorum of members that are running
//! and can reach each other. The last check of the cluster and the stop of etcd, which follows a
//! few milliseconds later, are two events. Between these two events, the other nodes can act, but
//! no fault happens, because no rule can protect a cluster from a member that fails at that moment.
//! An operator releases another node's turn only while that node is off or cannot be reached.

use std::collections::BTreeMap;

use recipes::Label;

use super::resume::{Resumption, resumption};
use super::state::UpdatePhase;
use super::transaction::Transaction;
use super::update_keys::UpdateKeys;
use crate::barrier::model::table::Table;
use faults::Budget;
use members::keys::{RESTART, TURN, UpdateTurn};
use node::{At, Files, Node, Power, Service};

/// The behaviour of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Image {
    Good,
    /// The image's etcd never starts.
    Dies,
    /// The image's etcd is healthy for a while, and dies before the end of the health check.
    DiesLater,
}

/// The scenario that one exploration runs.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    nodes: usize,
    /// The images in the order of their serials, which start at 1. All nodes initially have the
    /// first image.
    images: &'static [Image],
    /// Whether each update reboots the node.
    reboots: bool,
    /// Whether each order installs the machine again.
    reinstalls: bool,
    left: Budget,
}

/// The rules that one exploration tests.
#[derive(Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each rule can be wrong on its own"
)]
struct Rules {
    take_transaction: fn(&UpdateKeys, &UpdateTurn) -> Transaction,
    resumption: fn(UpdatePhase, u32, bool, bool) -> Resumption,
    /// Whether the member checks the cluster once more before it stops etcd.
    checks_again: bool,
    /// Whether a member that serves clients delays a revert until the cluster can spare the member.
    waits_to_revert: bool,
    /// Whether a rebuilt node reads the turn before it looks for an order on its disk.
    reads_turn_first: bool,
    /// Whether a node withdraws its request for a reinstallation if the server did not install the
    /// machine.
    withdraws: bool,
}

/// The rules that firstboot actually uses.
const RULES: Rules = Rules {
    take_transaction: |update_keys, turn| update_keys.take_transaction(turn).unwrap(),
    resumption,
    checks_again: true,
    waits_to_revert: true,
    reads_turn_first: true,
    withdraws: true,
};

/// etcd's keys. In the model, every existing key has revision 1. If a key has changed since a
/// node observed it, the observation has the revision [`STALE`]. Therefore, states that differ only
/// in their revisions are equal in the model.
type Keys = BTreeMap<String, Vec<u8>>;

const STALE: i64 = 9;

/// The state of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
struct World {
    nodes: Vec<Node>,
    keys: Keys,
    /// The serial of the newest release.
    published: u8,
    left: Budget,
}

/// The state of the whole cluster in a compact form, with numbers instead of large values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Packed {
    nodes: Vec<u32>,
    keys: u32,
    published: u8,
    left: Budget,
}

struct Model {
    scenario: Scenario,
    rules: Rules,
    names: Vec<Label>,
    nodes: Table<Node>,
    keys: Table<Keys>,
}

impl Model {
    fn new(scenario: Scenario, rules: Rules) -> Self {
        Self {
            scenario,
            rules,
            names: (1..=scenario.nodes)
                .map(|number| format!("n{number}").parse().unwrap())
                .collect(),
            nodes: Table::new(),
            keys: Table::new(),
        }
    }

    fn first(&self) -> World {
        World {
            nodes: vec![Node::installed(1); self.scenario.nodes],
            keys: Keys::new(),
            published: 2,
            left: self.scenario.left,
        }
    }

    fn pack(&mut self, world: World) -> Packed {
        Packed {
            nodes: world
                .nodes
                .into_iter()
                .map(|node| self.nodes.number(node))
                .collect(),
            keys: self.keys.number(world.keys),
            published: world.published,
            left: world.left,
        }
    }

    fn unpack(&self, packed: &Packed) -> World {
        World {
            nodes: packed
                .nodes
                .iter()
                .map(|number| self.nodes.values[*number as usize].clone())
                .collect(),
            keys: self.keys.values[packed.keys as usize].clone(),
            published: packed.published,
            left: packed.left,
        }
    }

    fn image(&self, serial: u8) -> Image {
        self.scenario.images[usize::from(serial) - 1]
    }

    /// Returns the state after each possible event of the nodes' programs, and after each possible
    /// end of a fault.
    fn steps(&self, world: &World) -> Result<Vec<World>, String> {
        if let Some(violation) = self.forgotten_request(world) {
            return Err(violation);
        }
        let mut next = Vec::new();
        for at in 0..world.nodes.len() {
            let node = &world.nodes[at];
            if node.power == Power::On {
                next.extend(self.updater(world, at)?);
                next.extend(self.service(world, at)?);
            }
            next.extend(self.returns(world, at));
        }
        Ok(next)
    }

    /// Returns whether a node is about to stop etcd. While a node is about to stop etcd, the model
    /// does not generate faults.
    fn is_stopping(world: &World) -> bool {
        let stops = |node: &Node| {
            matches!(node.at, At::Confirmed | At::RevertSure) || node.service == Service::Sure
        };
        world.nodes.iter().any(stops)
    }

    /// Stops etcd on a node. Returns a violation if etcd is stopped on two nodes at the same time,
    /// or if a cluster of three or more nodes loses its quorum.
    fn stop(&self, world: &mut World, at: usize) -> Result<(), String> {
        if world.is_serving(at) {
            if let Some(other) = world
                .nodes
                .iter()
                .zip(&self.names)
                .find(|(node, _)| node.is_stopped)
            {
                return Err(format!(
                    "etcd on {} stops while etcd on {} is stopped",
                    self.names[at], other.1
                ));
            }
            world.nodes[at].is_stopped = true;
            world.nodes[at].etcd = false;
            if world.nodes.len() > 2 && !world.has_quorum() {
                return Err(format!(
                    "the cluster has no quorum after etcd on {} stops",
                    self.names[at]
                ));
            }
        }
        world.nodes[at].etcd = false;
        Ok(())
    }

    /// Returns the violation of a requirement in a final state, if there is one. In a final state,
    /// only faults and orders can still happen.
    fn wrong_end(&self, world: &World) -> Option<String> {
        for (node, name) in world.nodes.iter().zip(&self.names) {
            if !matches!(node.files, Files::Whole(_)) {
                return Some(format!("{name} has files of two images in the final state"));
            }
            if node.order.is_some() || node.is_stopped || !node.etcd || node.document {
                return Some(format!("{name} does not finish its order"));
            }
        }
        [TURN, RESTART]
            .into_iter()
            .find(|key| world.keys.contains_key(*key))
            .map(|key| format!("{key} is never released"))
    }
}

impl World {
    /// Returns whether etcd on this node is running and can be reached.
    fn is_up(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.power == Power::On && !node.cut && node.etcd
    }

    fn has_quorum(&self) -> bool {
        let up = (0..self.nodes.len()).filter(|at| self.is_up(*at)).count();
        up > self.nodes.len() / 2
    }

    fn is_serving(&self, at: usize) -> bool {
        self.is_up(at) && self.has_quorum()
    }

    /// Returns whether programs on this node reach a member that serves clients.
    fn reaches_any(&self, at: usize) -> bool {
        self.nodes[at].power == Power::On && !self.nodes[at].cut && self.has_quorum()
    }

    /// Returns whether all members are healthy. If `may_be_ill` is set, this node's own member may
    /// be unhealthy.
    fn is_healthy(&self, at: usize, may_be_ill: bool) -> bool {
        (0..self.nodes.len()).all(|other| self.is_serving(other) || other == at && may_be_ill)
    }

    fn read(&self, serial: u8) -> UpdateKeys {
        let keys = UpdateKeys::keys(serial.into());
        let found = keys
            .each_ref()
            .map(|key| self.keys.get(key).map(|value| (value.clone(), 1)));
        UpdateKeys::parse(&keys, &found).unwrap()
    }

    /// Executes a transaction, as etcd does.
    fn execute(&mut self, transaction: &Transaction) -> bool {
        let is_current =
            |(key, seen): &(String, i64)| *seen == i64::from(self.keys.contains_key(key));
        if !transaction.seen.iter().all(is_current) {
            return false;
        }
        for (key, value) in &transaction.changes {
            match value {
                Some(value) => drop(self.keys.insert(key.clone(), value.clone())),
                None => drop(self.keys.remove(key)),
            }
            for node in &mut self.nodes {
                node.outdate(key);
            }
        }
        true
    }
}

mod explore;
mod faults;
mod node;
mod reinstallation;
mod service;
mod tests;
mod updater;
mod wrong_rules;
