//! Generates the events that nodes do not cause themselves: faults, orders of operators, deadlines,
//! new documents and new releases. Also generates the end of each fault.

use super::node::{At, Files, Node, Power, Service};
use super::{Image, Model, World};
use members::keys::RESTART;
use members::keys::{HALT, UpdateHalt};

/// The number of events of each kind that can still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) power: u8,
    /// The number of times that the updater or firstboot.service is killed.
    pub(super) kills: u8,
    /// The number of lost disks. The node is rebuilt after the loss.
    pub(super) losses: u8,
    /// The number of times that a node is cut off from the other nodes.
    pub(super) partitions: u8,
    /// The number of turns that an operator releases.
    pub(super) breaks: u8,
    pub(super) halts: u8,
    /// The number of orders that reach their deadline.
    pub(super) give_ups: u8,
    /// The number of health checks that reach their deadline.
    pub(super) timeouts: u8,
    /// The number of node documents with a different CA.
    pub(super) documents: u8,
    pub(super) rollbacks: u8,
    /// The number of times that a machine boots its old system although the server is ready to
    /// install the machine.
    pub(super) missed: u8,
    /// The number of failures of a request to the server, or of the restart that follows the
    /// request.
    pub(super) refusals: u8,
}

pub(super) const NONE: Budget = Budget {
    power: 0,
    kills: 0,
    losses: 0,
    partitions: 0,
    breaks: 0,
    halts: 0,
    give_ups: 0,
    timeouts: 0,
    documents: 0,
    rollbacks: 0,
    missed: 0,
    refusals: 0,
};

impl Model {
    /// Returns the state after each possible fault, order of an operator, deadline, new document
    /// and new release.
    pub(super) fn faults(&self, world: &World) -> Vec<World> {
        if Self::is_stopping(world) {
            return Vec::new();
        }
        let mut next = Vec::new();
        for at in 0..world.nodes.len() {
            node_faults(world, at, &mut next);
            orders_and_deadlines(world, at, &mut next);
            next.extend(Self::refuses(world, at));
        }
        if usize::from(world.published) < self.scenario.images.len() {
            let mut after = world.clone();
            after.published += 1;
            next.push(after);
        }
        if world.left.halts > 0 && !world.keys.contains_key(HALT) && world.has_quorum() {
            let mut after = world.clone();
            after.left.halts -= 1;
            let halt = UpdateHalt {
                why: String::new(),
                node: String::new(),
                since: 0,
            };
            after.put(HALT, Some(serde_json::to_vec(&halt).unwrap()));
            next.push(after);
        }
        next.extend(self.break_turn(world));
        next
    }

    /// Returns the state after an operator has released the turn of a node that seems to be lost,
    /// if there is such a node.
    fn break_turn(&self, world: &World) -> Option<World> {
        let update_keys = world.read(0);
        let holder = &update_keys.turn.value.as_ref()?.node;
        let at = self.names.iter().position(|name| name == holder)?;
        let is_gone = world.nodes[at].power != Power::On || world.nodes[at].cut;
        if world.left.breaks == 0 || !is_gone || !world.has_quorum() {
            return None;
        }
        let mut after = world.clone();
        after.left.breaks -= 1;
        after.execute(&update_keys.release_transaction(holder, 0, None).unwrap()?);
        Some(after)
    }

    /// Returns the state after each possible end of a fault of this node, and the state after the
    /// lease of the node's restart lock has expired. The halt belongs to no node, so the state
    /// after its end is returned only for the first node.
    pub(super) fn returns(&self, world: &World, at: usize) -> Vec<World> {
        if Self::is_stopping(world) {
            return Vec::new();
        }
        let node = &world.nodes[at];
        let mut next = match node.power {
            Power::Off => Self::boots(world, at),
            Power::On | Power::Lost => Vec::new(),
        };
        let mut with = |change: &dyn Fn(&mut World)| {
            let mut after = world.clone();
            change(&mut after);
            next.push(after);
        };
        if node.power == Power::Lost {
            with(&|after| after.nodes[at] = self.rebuilt(after, at));
        }
        if node.cut {
            with(&|after| after.nodes[at].cut = false);
        }
        if at == 0 && world.keys.contains_key(HALT) && world.has_quorum() {
            with(&|after| after.put(HALT, None));
        }
        // The lease of the restart lock expires.
        let holds = matches!(
            node.service,
            Service::Locked | Service::Sure | Service::Restart | Service::Unlock
        );
        let is_own = world
            .keys
            .get(RESTART)
            .is_some_and(|name| *name == self.names[at].as_str().as_bytes());
        if is_own && !holds && world.has_quorum() {
            with(&|after| after.put(RESTART, None));
        }
        next
    }

    /// Returns the node with a new disk, installed from the newest image that works.
    fn rebuilt(&self, world: &World, at: usize) -> Node {
        let works = |serial: &u8| self.image(*serial) == Image::Good;
        let serial = (1..=world.published).rev().find(works).unwrap_or(1);
        Node {
            etcd: false,
            service: Service::Start,
            files: Files::Whole(serial),
            is_stopped: world.nodes[at].is_stopped,
            ..Node::installed(serial)
        }
    }
}

impl World {
    fn put(&mut self, key: &str, value: Option<Vec<u8>>) {
        self.execute(&crate::update::transaction::Transaction {
            seen: Vec::new(),
            changes: vec![(key.to_owned(), value)],
        });
    }
}

/// Adds the states after each fault of a node and of its programs.
fn node_faults(world: &World, at: usize, next: &mut Vec<World>) {
    let node = &world.nodes[at];
    let left = &world.left;
    let mut with = |is_possible: bool, change: &dyn Fn(&mut World)| {
        if is_possible {
            let mut after = world.clone();
            change(&mut after);
            next.push(after);
        }
    };
    let is_on = node.power == Power::On;
    with(left.power > 0 && is_on, &|after| {
        after.left.power -= 1;
        after.nodes[at].power_fails();
        after.nodes[at].power = Power::Off;
    });
    with(
        left.kills > 0 && is_on && node.order.is_some() && node.at != At::Start,
        &|after| {
            after.left.kills -= 1;
            after.nodes[at].at = At::Start;
        },
    );
    let is_busy = !matches!(node.service, Service::Down | Service::Start | Service::Done);
    with(left.kills > 0 && is_on && is_busy, &|after| {
        after.left.kills -= 1;
        after.nodes[at].service = Service::Start;
    });
    with(left.losses > 0 && node.power != Power::Lost, &|after| {
        after.left.losses -= 1;
        after.nodes[at].power_fails();
        after.nodes[at].order = None;
        after.nodes[at].power = Power::Lost;
    });
    with(left.partitions > 0 && is_on && !node.cut, &|after| {
        after.left.partitions -= 1;
        after.nodes[at].cut = true;
    });
}

/// Adds the states after each operator's order, each new document, and each deadline.
fn orders_and_deadlines(world: &World, at: usize, next: &mut Vec<World>) {
    let node = &world.nodes[at];
    let left = &world.left;
    let mut with = |is_possible: bool, change: &dyn Fn(&mut World)| {
        if is_possible {
            let mut after = world.clone();
            change(&mut after);
            next.push(after);
        }
    };
    let is_on = node.power == Power::On;
    let waiting = (node.at == At::Wait)
        .then_some(node.order.as_ref())
        .flatten();
    with(left.give_ups > 0 && waiting.is_some(), &|after| {
        after.left.give_ups -= 1;
        let has_turn = waiting.is_some_and(|order| order.turn);
        after.nodes[at].at = if has_turn { At::Release } else { At::Ended };
    });
    let has_passed_health_check = node.updated == node.order.as_ref().map(|order| order.serial);
    with(
        left.timeouts > 0 && node.at == At::CheckHealth && !has_passed_health_check,
        &|after| {
            after.left.timeouts -= 1;
            after.nodes[at].fails();
        },
    );
    with(left.documents > 0 && is_on && !node.document, &|after| {
        after.left.documents -= 1;
        after.nodes[at].document = true;
    });
    if let (Some(before), Some(updated), None) = (node.before, node.updated, &node.order) {
        with(left.rollbacks > 0 && is_on, &|after| {
            after.left.rollbacks -= 1;
            after.nodes[at].orders(updated, true, before);
        });
    }
}
