//! Models the events of the updater.

use super::node::{At, Files, Node, Order, Service};
use super::{Image, Model, World};
use crate::reason::ReasonId;
use crate::update::resume::Resumption;
use crate::update::state::UpdatePhase;
use crate::update::update_keys::TurnDecision;
use members::keys::UpdateTurn;
use members::keys::{FailedRelease, failed_key};

impl Model {
    /// Returns the state after the next event of this node's updater, if there is one.
    pub(super) fn updater(&self, world: &World, at: usize) -> Result<Option<World>, String> {
        let mut after = world.clone();
        let Some(order) = world.nodes[at].order.clone() else {
            return Ok(self.begins(&mut after, at).then_some(after));
        };
        let node = &mut after.nodes[at];
        match world.nodes[at].at.clone() {
            At::Rest => return Err("a node has an order, but its updater does not run".to_owned()),
            At::Start => self.resumes(node, &order),
            At::Wait | At::Seen(_) | At::Taking(_) | At::Prepared => {
                return Ok(self.waits(after, at, &order));
            }
            At::Confirmed | At::Stopped | At::ReplaceFiles | At::ReplacedFiles => {
                return self.replaces_or_asks(after, at, &order).map(Some);
            }
            At::Reboot => {
                node.power_fails();
                node.boots();
            }
            At::CheckHealth => return Ok(self.checks_health(after, at, &order)),
            At::RevertStop if self.rules.waits_to_revert && world.is_serving(at) => {
                self.waits_to_revert(&mut after, at, &order);
            }
            At::RevertStop
            | At::RevertSure
            | At::RevertStopped
            | At::RevertFiles
            | At::RevertedFiles => {
                return self.reverts(after, at, &order).map(Some);
            }
            At::Recover => {
                node.start_service();
                if world.is_serving(at) && world.nodes[at].service == Service::Done {
                    if order.back {
                        (node.updated, node.before) = (Some(order.before), None);
                    }
                    node.at = At::Release;
                }
            }
            At::Install | At::Restart | At::Withdraw => return Ok(Some(self.installs(after, at))),
            At::Release | At::Releasing(_) => {
                if !world.reaches_any(at) {
                    return Ok(None);
                }
                self.releases_turn(&mut after, at, &order);
            }
            At::Ended => (node.order, node.at) = (None, At::Rest),
        }
        Ok((after != *world).then_some(after))
    }

    /// Models the timer, which orders the update to the newest release.
    fn begins(&self, world: &mut World, at: usize) -> bool {
        let serial = world.published;
        if world.nodes[at].files == Files::Whole(serial) || !world.is_serving(at) {
            return false;
        }
        let Files::Whole(before) = world.nodes[at].files else {
            return false;
        };
        let decision = world
            .read(serial)
            .decide(&self.names[at], serial.into(), false);
        if matches!(decision, TurnDecision::Refuse(_)) {
            return false;
        }
        world.nodes[at].orders(serial, false, before);
        true
    }

    fn resumes(&self, node: &mut Node, order: &Order) {
        let has_passed_health_check = !order.back && node.updated == Some(order.serial);
        let phase = match (self.rules.resumption)(
            order.phase,
            order.boots,
            order.same_boot,
            has_passed_health_check,
        ) {
            Resumption::Continue => order.phase,
            Resumption::Enter { phase, counts } => {
                node.enter(phase);
                node.order.as_mut().unwrap().boots += u32::from(counts);
                phase
            }
            Resumption::Revert { failed, .. } => {
                node.order.as_mut().unwrap().marks_release_failed = failed;
                node.at = At::RevertStop;
                return;
            }
            Resumption::RevertAgain => {
                node.at = At::RevertStop;
                return;
            }
        };
        node.at = match phase {
            UpdatePhase::Rebooting | UpdatePhase::RebootingReverted => At::Reboot,
            UpdatePhase::CheckingHealth => At::CheckHealth,
            UpdatePhase::Recovering => At::Recover,
            UpdatePhase::Installing => At::Install,
            UpdatePhase::Withdrawing => At::Withdraw,
            UpdatePhase::Waiting | UpdatePhase::Replacing | UpdatePhase::Reverting => At::Wait,
        };
        if !matches!(node.at, At::Reboot | At::Install) {
            node.start_service();
        }
    }

    /// Waits for the turn, takes it, and checks the cluster once more.
    fn waits(&self, mut after: World, at: usize, order: &Order) -> Option<World> {
        let serial = order.serial;
        let reaches = if order.back {
            after.reaches_any(at)
        } else {
            after.is_serving(at)
        };
        let name = &self.names[at];
        let update_keys = after.read(serial);
        let is_healthy = reaches && after.is_healthy(at, order.back) && !after.nodes[at].document;
        let decision = match update_keys.decide(name, serial.into(), order.back) {
            _ if !reaches => TurnDecision::Wait(ReasonId::UpdateNotHealthy.because("")),
            TurnDecision::Take | TurnDecision::Held if !is_healthy => {
                TurnDecision::Wait(ReasonId::UpdateNotHealthy.because(""))
            }
            decision => decision,
        };
        let next = match after.nodes[at].at.clone() {
            At::Wait => match decision {
                TurnDecision::Take | TurnDecision::Held => At::Seen(update_keys),
                TurnDecision::Refuse(_) if order.turn => At::Release,
                TurnDecision::Refuse(_) => At::Ended,
                TurnDecision::Wait(_) => return None,
            },
            At::Seen(seen)
                if seen.decide(name, serial.into(), order.back) == TurnDecision::Take =>
            {
                after.nodes[at].order.as_mut().unwrap().turn = true;
                At::Taking(seen)
            }
            At::Seen(_) => At::Prepared,
            At::Taking(seen) => {
                let turn = self.turn(at, order);
                if reaches && after.execute(&(self.rules.take_transaction)(&seen, &turn)) {
                    At::Prepared
                } else {
                    At::Wait
                }
            }
            _ if decision == TurnDecision::Held || !self.rules.checks_again => At::Confirmed,
            _ => At::Wait,
        };
        let node = &mut after.nodes[at];
        if next == At::Confirmed && !order.back {
            node.before = None;
        }
        node.at = next;
        Some(after)
    }

    fn checks_health(&self, mut after: World, at: usize, order: &Order) -> Option<World> {
        let is_done = after.is_serving(at) && after.nodes[at].service == Service::Done;
        let is_stopping = Self::is_stopping(&after);
        let node = &mut after.nodes[at];
        if node.updated == Some(order.serial) {
            node.at = At::Release;
            return Some(after);
        }
        match self.image(order.serial) {
            Image::Good if is_done => {
                (node.updated, node.before) = (Some(order.serial), Some(order.before));
                node.at = At::Release;
            }
            Image::DiesLater if is_done && !is_stopping => {
                node.etcd = false;
                node.fails();
            }
            Image::Dies => node.fails(),
            Image::DiesLater if !node.etcd && node.service == Service::Done => node.fails(),
            Image::Good | Image::DiesLater if node.service == Service::Down => {
                node.start_service();
            }
            Image::Good | Image::DiesLater => return None,
        }
        Some(after)
    }

    /// Stops etcd, and installs the files or asks for the reinstallation.
    fn replaces_or_asks(
        &self,
        mut after: World,
        at: usize,
        order: &Order,
    ) -> Result<World, String> {
        let key = failed_key(order.serial.into());
        // Another node can mark the image as failed between the last check and the stop only if an
        // operator released a turn.
        let is_failed =
            after.keys.contains_key(&key) && after.left.breaks == self.scenario.left.breaks;
        let node = &mut after.nodes[at];
        match node.at {
            At::Confirmed if is_failed && !order.back => {
                return Err(format!("{} installs a failed image", self.names[at]));
            }
            At::Confirmed => {
                node.order.as_mut().unwrap().marks_release_failed = order.back;
                node.service = Service::Down;
                node.at = if order.back {
                    At::RevertStopped
                } else {
                    At::Stopped
                };
                self.stop(&mut after, at)?;
            }
            At::Stopped if self.scenario.reinstalls => {
                node.enter(UpdatePhase::Installing);
                node.at = At::Install;
            }
            At::Stopped => {
                node.enter(UpdatePhase::Replacing);
                node.order.as_mut().unwrap().same_boot_as_replacement = true;
                (node.files, node.at) = (Files::Mixed, At::ReplaceFiles);
            }
            At::ReplaceFiles => {
                (node.files, node.at) = (Files::Whole(order.serial), At::ReplacedFiles);
            }
            _ => {
                let (phase, next) = if self.scenario.reboots {
                    (UpdatePhase::Rebooting, At::Reboot)
                } else {
                    (UpdatePhase::CheckingHealth, At::CheckHealth)
                };
                node.enter(phase);
                node.at = next;
                node.order.as_mut().unwrap().boots = 0;
            }
        }
        Ok(after)
    }

    /// Waits until the cluster can spare this member, which still serves clients although its image
    /// failed.
    fn waits_to_revert(&self, after: &mut World, at: usize, order: &Order) {
        let update_keys = after.read(order.serial);
        match &update_keys.turn.value {
            None => {
                let turn = self.turn(at, order);
                after.execute(&(self.rules.take_transaction)(&update_keys, &turn));
            }
            Some(turn) if turn.node == self.names[at] && after.is_healthy(at, true) => {
                after.nodes[at].at = At::RevertSure;
            }
            Some(_) => {}
        }
    }

    fn turn(&self, at: usize, order: &Order) -> UpdateTurn {
        UpdateTurn {
            node: self.names[at].clone(),
            serial: order.serial.into(),
            since: 0,
        }
    }

    fn reverts(&self, mut after: World, at: usize, order: &Order) -> Result<World, String> {
        let node = &mut after.nodes[at];
        match node.at {
            At::RevertStop | At::RevertSure => {
                (node.service, node.at) = (Service::Down, At::RevertStopped);
                self.stop(&mut after, at)?;
            }
            At::RevertStopped => {
                if !order.back && node.updated == Some(order.serial) {
                    return Err(format!(
                        "{} restores the previous image, but the new image passed its health check",
                        self.names[at]
                    ));
                }
                node.enter(UpdatePhase::Reverting);
                (node.files, node.at) = (Files::Mixed, At::RevertFiles);
            }
            At::RevertFiles => {
                (node.files, node.at) = (Files::Whole(order.before), At::RevertedFiles);
            }
            _ => {
                let reboots = self.scenario.reboots && !order.same_boot_as_replacement;
                node.enter(if reboots {
                    UpdatePhase::RebootingReverted
                } else {
                    UpdatePhase::Recovering
                });
                node.at = if reboots { At::Reboot } else { At::Recover };
            }
        }
        Ok(after)
    }

    fn releases_turn(&self, after: &mut World, at: usize, order: &Order) {
        let name = &self.names[at];
        let failed = order.marks_release_failed.then(|| FailedRelease {
            node: name.clone(),
            why: String::new(),
            at: 0,
        });
        let At::Releasing(update_keys) = after.nodes[at].at.clone() else {
            let update_keys = after.read(order.serial);
            after.nodes[at].at = At::Releasing(update_keys);
            return;
        };
        let transaction =
            update_keys.release_transaction(name, order.serial.into(), failed.as_ref());
        let is_released = transaction
            .unwrap()
            .is_none_or(|transaction| after.execute(&transaction));
        after.nodes[at].at = if is_released { At::Ended } else { At::Release };
    }
}

impl Node {
    pub(super) fn orders(&mut self, serial: u8, back: bool, before: u8) {
        self.order = Some(Order {
            serial,
            back,
            phase: UpdatePhase::Waiting,
            boots: 0,
            same_boot: true,
            same_boot_as_replacement: false,
            turn: false,
            marks_release_failed: false,
            before,
        });
        self.at = At::Wait;
    }

    pub(super) fn fails(&mut self) {
        if let Some(order) = &mut self.order {
            order.marks_release_failed = true;
        }
        self.at = At::RevertStop;
    }
}
