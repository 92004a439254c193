//! Models the events of firstboot.service: it starts etcd, restarts etcd for a CA, and releases a
//! turn that the node had before it lost its disk.

use super::node::{Files, Service};
use super::{Image, Model, World};
use crate::update::transaction::Transaction;
use crate::update::update_keys::UpdateKeys;
use crate::update::update_turn::is_of_previous_disk;
use members::keys::{KeyState, RESTART, UpdateTurn};

impl Model {
    /// Returns the state after the next event of this node's service, if there is one.
    pub(super) fn service(&self, world: &World, at: usize) -> Result<Option<World>, String> {
        let mut after = world.clone();
        let serves = world.is_serving(at);
        let node = &mut after.nodes[at];
        match world.nodes[at].service.clone() {
            Service::Start | Service::Restart => self.starts(&mut after, at)?,
            Service::FindTurn if serves && node.document => {
                let turn = world.read(0).turn;
                if turn.restart_condition(&self.names[at]).is_ok() {
                    node.service = Service::Claim(turn);
                }
            }
            Service::FindTurn if serves => self.finds_turn(&mut after, at),
            Service::Return(_) if !world.reaches_any(at) => node.service = Service::FindTurn,
            Service::Return(read) => self.returns_turn(&mut after, at, read),
            Service::Claim(turn) => self.claims(&mut after, at, &turn),
            Service::Locked if world.is_healthy(at, false) => node.service = Service::Sure,
            Service::Locked => node.service = Service::Unlock,
            Service::Sure => {
                node.service = Service::Restart;
                self.stop(&mut after, at)?;
            }
            Service::Unlock => {
                node.service = Service::FindTurn;
                if world.reaches_any(at) {
                    after.keys.remove(RESTART);
                }
            }
            Service::Done if node.document => node.service = Service::FindTurn,
            Service::Down | Service::FindTurn | Service::Done => {}
        }
        Ok((after != *world).then_some(after))
    }

    fn starts(&self, world: &mut World, at: usize) -> Result<(), String> {
        let node = &mut world.nodes[at];
        let Files::Whole(serial) = node.files else {
            return Err(format!(
                "{} starts etcd with files of two images",
                self.names[at]
            ));
        };
        if self.image(serial) != Image::Dies {
            let restarts = node.service == Service::Restart;
            node.document &= !restarts;
            node.service = if restarts {
                Service::Unlock
            } else {
                Service::FindTurn
            };
            (node.etcd, node.is_stopped) = (true, false);
        }
        Ok(())
    }

    fn finds_turn(&self, world: &mut World, at: usize) {
        let update_keys = world.read(0);
        let node = &mut world.nodes[at];
        node.service = if !self.rules.reads_turn_first && node.order.is_none() {
            Service::Return(None)
        } else if self.rules.reads_turn_first && update_keys.turn.is_of(&self.names[at]) {
            Service::Return(Some(update_keys))
        } else {
            Service::Done
        };
    }

    fn returns_turn(&self, world: &mut World, at: usize, read: Option<UpdateKeys>) {
        let name = &self.names[at];
        let has_order = world.nodes[at].order.is_some() && read.is_some();
        let update_keys = read.unwrap_or_else(|| world.read(0));
        world.nodes[at].service = Service::Done;
        if is_of_previous_disk(&update_keys.turn, name, has_order)
            && let Some(transaction) = update_keys.release_transaction(name, 0, None).unwrap()
        {
            world.execute(&transaction);
        }
    }

    fn claims(&self, world: &mut World, at: usize, turn: &KeyState<UpdateTurn>) {
        let name = &self.names[at];
        let condition = turn.restart_condition(name).unwrap_or_default();
        let own = condition
            .into_iter()
            .map(|(key, revision)| (key.to_owned(), revision));
        let claim = Transaction {
            seen: [(RESTART.to_owned(), 0)].into_iter().chain(own).collect(),
            changes: vec![(RESTART.to_owned(), Some(name.as_str().into()))],
        };
        let is_locked = world.reaches_any(at) && world.execute(&claim);
        world.nodes[at].service = if is_locked {
            Service::Locked
        } else {
            Service::FindTurn
        };
    }
}
