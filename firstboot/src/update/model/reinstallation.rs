//! Models the events of a reinstallation: the node asks the server, restarts, and boots either the
//! installer or its old system.

use super::node::{At, Power};
use super::{Model, World};
use crate::update::state::UpdatePhase;

impl Model {
    /// Asks the server, restarts the node, or withdraws the request.
    pub(super) fn installs(&self, mut after: World, at: usize) -> World {
        let node = &mut after.nodes[at];
        match node.at {
            At::Install => (node.armed, node.at) = (true, At::Restart),
            At::Restart => {
                node.power_fails();
                node.power = Power::Off;
            }
            _ => {
                node.armed &= !self.rules.withdraws;
                node.start_service();
                node.at = At::Recover;
            }
        }
        after
    }

    /// Boots a machine that was switched off. Returns each state that can follow. If the server is
    /// ready to install the machine, the machine boots the installer or, if it cannot reach the
    /// server, its old system.
    pub(super) fn boots(world: &World, at: usize) -> Vec<World> {
        let mut from_disk = world.clone();
        from_disk.nodes[at].boots();
        if !world.nodes[at].armed {
            return vec![from_disk];
        }
        let mut installed = world.clone();
        let node = &mut installed.nodes[at];
        (node.armed, node.order, node.power) = (false, None, Power::Lost);
        if world.left.missed == 0 {
            return vec![installed];
        }
        from_disk.left.missed -= 1;
        vec![installed, from_disk]
    }

    /// Returns the state after a request or a restart has failed. A request that failed may still
    /// have reached the server.
    pub(super) fn refuses(world: &World, at: usize) -> Option<World> {
        if world.left.refusals == 0 || !matches!(world.nodes[at].at, At::Install | At::Restart) {
            return None;
        }
        let mut after = world.clone();
        after.left.refusals -= 1;
        after.nodes[at].enter(UpdatePhase::Withdrawing);
        after.nodes[at].at = At::Withdraw;
        Some(after)
    }

    /// Returns a violation if the server is ready to install a machine whose node has no order.
    pub(super) fn forgotten_request(&self, world: &World) -> Option<String> {
        let mut nodes = world.nodes.iter().zip(&self.names);
        let forgotten =
            |node: &super::Node| node.armed && node.order.is_none() && node.power != Power::Lost;
        nodes
            .find(|(node, _)| forgotten(node))
            .map(|(_, name)| format!("{name} has no order, but the server would install it"))
    }
}
