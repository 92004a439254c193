//! Generates the faults that can happen to the nodes of the model.

use super::node::{ModelMessage, Node};
use super::{Explorer, World};

/// The maximum number of faults of each kind in one exploration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub(super) wipes: u8,
    pub(super) crashes: u8,
    /// The number of times that an operator uses `--without`.
    pub(super) exclusions: u8,
    /// The number of restore orders that a node abandons.
    pub(super) give_ups: u8,
    /// The number of restore orders that the operator gives at an unexpected time.
    pub(super) unexpected_orders: u8,
}

impl Explorer {
    /// Returns the states after each fault that is possible now.
    pub(super) fn faults(&mut self, world: &World) -> Vec<World> {
        let mut next = Vec::new();
        for at in 0..self.names.len() {
            if world.wipes > 0 {
                let mut after = self.with(world, at, |node| {
                    *node = Node {
                        without: 0,
                        started: None,
                        ordered: 0,
                        data: None,
                        ..node.clone()
                    };
                    node.draw_nonce();
                });
                after.wipes -= 1;
                next.push(after);
            }
            if world.unexpected_orders > 0
                && self.node(world, at).ordered == 0
                && world.orders[at] == 0
            {
                let mut after = self.with(world, at, |node| node.order_restore(1));
                after.unexpected_orders -= 1;
                next.push(after);
            }
            let node = self.node(world, at);
            if node.started.is_some() {
                continue;
            }
            if world.give_ups > 0 && node.ordered != 0 {
                let mut after = self.with(world, at, Node::give_up);
                after.give_ups -= 1;
                next.push(after);
            }
            let node = self.node(world, at);
            if world.crashes > 0
                && node
                    .seen
                    .iter()
                    .any(|reported| *reported != ModelMessage::Nothing)
            {
                let mut after = self.with(world, at, |node| node.seen.fill(ModelMessage::Nothing));
                after.crashes -= 1;
                next.push(after);
            }
            // The operator runs a command on this node that excludes the last node. firstboot then
            // generates a new disk id for this node, so the node gets a new nonce.
            let last = self.names.len() - 1;
            let node = self.node(world, at);
            if world.exclusions > 0 && at != last && node.without == 0 {
                let mut after = self.with(world, at, |node| {
                    node.without = 1 << last;
                    node.draw_nonce();
                });
                after.exclusions -= 1;
                next.push(after);
            }
        }
        next
    }
}
