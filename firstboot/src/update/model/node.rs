//! Defines a node of the model.

use super::STALE;
use crate::update::state::UpdatePhase;
use crate::update::update_keys::UpdateKeys;
use members::keys::{HALT, NEWEST_RELEASE, failed_key};
use members::keys::{KeyState, TURN, UpdateTurn};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Power {
    On,
    Off,
    /// The node's disk is lost, or the installer is erasing it.
    Lost,
}

/// The files of the image on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Files {
    Whole(u8),
    Mixed,
}

/// The order on the disk.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each combination of the fields is a state of the model"
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Order {
    pub(super) serial: u8,
    pub(super) back: bool,
    pub(super) phase: UpdatePhase,
    pub(super) boots: u32,
    /// Whether the node is still in the boot in which the phase began.
    pub(super) same_boot: bool,
    /// Whether the node is still in the boot in which the files were replaced.
    pub(super) same_boot_as_replacement: bool,
    pub(super) turn: bool,
    pub(super) marks_release_failed: bool,
    /// The image that is restored if the new image fails.
    pub(super) before: u8,
}

/// The next event of the updater.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// The updater has no order.
    Rest,
    /// The process starts, or systemd starts it again.
    Start,
    Wait,
    /// According to these keys, the member may start the update. The member may take a snapshot
    /// first.
    Seen(UpdateKeys),
    Taking(UpdateKeys),
    /// The node has the turn, and prepares the replacement.
    Prepared,
    /// The last check before etcd stops has passed.
    Confirmed,
    Stopped,
    ReplaceFiles,
    ReplacedFiles,
    Reboot,
    CheckHealth,
    RevertStop,
    /// The member serves clients, but the cluster can spare it.
    RevertSure,
    RevertStopped,
    RevertFiles,
    RevertedFiles,
    Recover,
    /// The node asks the server to install the machine.
    Install,
    Restart,
    Withdraw,
    Release,
    Releasing(UpdateKeys),
    Ended,
}

/// The next event of firstboot.service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Service {
    Down,
    Start,
    /// The service waits for a healthy member, replaces the CA, and looks for a turn that the node
    /// had before it lost its disk.
    FindTurn,
    /// The service has read the turn, and this node has the turn. `None` means that the service has
    /// looked for an order before reading the turn, and has found none. Only a wrong rule allows
    /// this.
    Return(Option<UpdateKeys>),
    /// The service takes the restart lock, unless the turn has changed.
    Claim(KeyState<UpdateTurn>),
    Locked,
    /// The check before etcd restarts has passed.
    Sure,
    Restart,
    Unlock,
    Done,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each combination of the fields is a state of the model"
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) power: Power,
    /// Whether the node is cut off from all other nodes.
    pub(super) cut: bool,
    pub(super) etcd: bool,
    /// Whether firstboot stopped etcd while etcd served clients, and etcd has not started since
    /// then.
    pub(super) is_stopped: bool,
    pub(super) files: Files,
    /// The serial of the image that the last completed update or rollback installed. While an
    /// update can be rolled back, `before` is the serial of the previous image.
    pub(super) updated: Option<u8>,
    pub(super) before: Option<u8>,
    pub(super) order: Option<Order>,
    pub(super) at: At,
    pub(super) service: Service,
    /// Whether the node has a document with a different CA, for which etcd must restart.
    pub(super) document: bool,
    /// Whether the server is ready to install the machine at the machine's next boot.
    pub(super) armed: bool,
}

impl Node {
    /// Returns a member that runs this image.
    pub(super) fn installed(serial: u8) -> Self {
        Self {
            power: Power::On,
            cut: false,
            etcd: true,
            is_stopped: false,
            files: Files::Whole(serial),
            updated: None,
            before: None,
            order: None,
            at: At::Rest,
            service: Service::Done,
            document: false,
            armed: false,
        }
    }

    /// Models a power cut: all processes end, including etcd.
    pub(super) fn power_fails(&mut self) {
        self.etcd = false;
        self.service = Service::Down;
        self.at = At::Rest;
        if let Some(order) = &mut self.order {
            (order.same_boot, order.same_boot_as_replacement) = (false, false);
        }
    }

    /// Models a boot: if the node has an order, systemd starts the updater first, and
    /// firstboot.service after it.
    pub(super) fn boots(&mut self) {
        self.power = Power::On;
        if self.order.is_some() {
            self.at = At::Start;
        } else {
            self.service = Service::Start;
        }
    }

    pub(super) fn start_service(&mut self) {
        if self.service == Service::Down {
            self.service = Service::Start;
        }
    }

    /// Enters a phase, and stores the phase on the disk.
    pub(super) fn enter(&mut self, phase: UpdatePhase) {
        if let Some(order) = &mut self.order {
            (order.phase, order.same_boot) = (phase, true);
        }
    }

    /// Marks this node's observations of a key as outdated, because the key has changed.
    pub(super) fn outdate(&mut self, key: &str) {
        let old = |revision: &mut i64| *revision = if *revision == 1 { STALE } else { *revision };
        let serial = self.order.as_ref().map_or(0, |order| order.serial);
        if let At::Seen(update_keys) | At::Taking(update_keys) | At::Releasing(update_keys) =
            &mut self.at
        {
            match key {
                TURN => old(&mut update_keys.turn.revision),
                HALT => old(&mut update_keys.halt.revision),
                NEWEST_RELEASE => old(&mut update_keys.newest.revision),
                key if key == failed_key(serial.into()) => old(&mut update_keys.failed.revision),
                _ => {}
            }
        }
        if key == TURN {
            match &mut self.service {
                Service::Return(Some(update_keys)) => old(&mut update_keys.turn.revision),
                Service::Claim(turn) => old(&mut turn.revision),
                _ => {}
            }
        }
    }
}
