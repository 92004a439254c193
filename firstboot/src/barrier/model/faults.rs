//! What befalls the nodes of the model.

use super::node::{ModelMessage, Node};
use super::{Explorer, World};

/// What an exploration may do to the nodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    /// Disks that are lost, in all.
    pub(super) wipes: u8,
    /// Restarts, in all.
    pub(super) crashes: u8,
    /// How often an operator says `--without`, in all.
    pub(super) switches: u8,
    /// The total number of times that a node gives up an order to restore.
    pub(super) give_ups: u8,
    /// The total number of orders to restore that are given at an unexpected time.
    pub(super) tells: u8,
}

impl Explorer {
    /// All that can be done to them.
    pub(super) fn faults(&mut self, world: &World) -> Vec<World> {
        let mut next = Vec::new();
        for at in 0..self.names.len() {
            if world.wipes > 0 {
                let mut after = self.with(world, at, |node| {
                    *node = Node { without: 0, started: None, told: 0, data: None, ..node.clone() };
                    node.init_disk_id();
                });
                after.wipes -= 1;
                next.push(after);
            }
            if world.tells > 0 && self.node(world, at).told == 0 && world.orders[at] == 0 {
                let mut after = self.with(world, at, |node| node.tell(1));
                after.tells -= 1;
                next.push(after);
            }
            let node = self.node(world, at);
            if node.started.is_some() {
                continue;
            }
            if world.give_ups > 0 && node.told != 0 {
                let mut after = self.with(world, at, Node::give_up);
                after.give_ups -= 1;
                next.push(after);
            }
            let node = self.node(world, at);
            if world.crashes > 0 && node.seen.iter().any(|said| *said != ModelMessage::Nothing) {
                let mut after = self.with(world, at, |node| node.seen.fill(ModelMessage::Nothing));
                after.crashes -= 1;
                next.push(after);
            }
            // The operator gives up the last node. That begins a new life, as run.rs has it.
            let last = self.names.len() - 1;
            let node = self.node(world, at);
            if world.switches > 0 && at != last && node.without == 0 {
                let mut after = self.with(world, at, |node| {
                    node.without = 1 << last;
                    node.init_disk_id();
                });
                after.switches -= 1;
                next.push(after);
            }
        }
        next
    }
}
