//! The state of updates on the disk: the current order with its progress, the last update, and how
//! the last order ended.

use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::update::Reboot;
use recipes::{Label, ReleaseDocument, Sha256, Window};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::changes::FileChange;
use crate::files::{self, DesiredDir, DesiredFile, ROOT};
use crate::paths;

/// An order of the operator with its progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// A random id of this order.
    pub(super) id: String,
    /// This node.
    pub(super) node: Label,
    /// The order.
    pub(super) order: Order,
    /// The progress.
    pub(super) phase: Phase,
    /// The exchange of files, once it is planned.
    pub(super) exchange: Exchange,
    /// Whether the node may have the turn.
    pub(super) turn: bool,
    /// In which boot this was written.
    pub(super) boot: String,
    /// In which boot the exchange of files began; empty before it, and for a rollback.
    #[serde(default)]
    pub(super) exchange_boot: String,
    /// The number of boots for which the new image has been proving itself, not counting the one
    /// that the update ordered.
    pub(super) boots: u32,
    /// Why the previous image is restored.
    pub(super) why: Option<String>,
    /// Whether the release is the cause, so that no other member tries it.
    pub(super) blame: bool,
}

/// What the operator ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// The image to install; `None` for a rollback.
    pub(super) release: Option<ReleaseDocument>,
    /// Its serial; for a rollback the serial of the image to leave.
    pub(super) serial: u64,
    /// For how many seconds the member must stay healthy.
    pub(super) soak: u32,
    /// When the node reboots.
    #[serde(default)]
    pub(super) reboot: Reboot,
    /// When to stop waiting for the turn, in seconds since 1970.
    pub(super) until: u64,
    /// When the update may begin; `None` for always, as for an order of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<Window>,
}

/// The progress of an order. In `Exchanging` and `TakingBack` the files may be a mixture of both
/// images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// The member waits for its turn, and has changed nothing.
    Waiting,
    /// The files of the new image are being installed.
    Exchanging,
    /// All files belong to the new image, and the node reboots to apply them.
    Rebooting,
    /// All files belong to the new image, and the member must prove itself.
    Proving,
    /// The files of the previous image are being restored.
    TakingBack,
    /// All files belong to the previous image, and the node reboots to apply them.
    RebootingBack,
    /// All files belong to the previous image; the member must become healthy.
    Recovering,
}

/// The files that an update exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    /// Files, in the order of the exchange. The kind is about what was on the disk.
    pub(super) files: Vec<FileChange>,
    /// Folders that the exchange makes, outer ones first.
    pub(super) folders: Vec<String>,
}

/// The image that this node was updated to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Updated {
    /// Its serial.
    pub(super) serial: u64,
    /// The serial of the previous image, if an update installed that.
    pub(super) serial_before: Option<u64>,
    /// The exchange to undo for a rollback; `None` after a rollback.
    pub(super) exchange: Option<Exchange>,
}

/// What the last look for a newer image found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Look {
    /// The digest of the overlay of this node's image.
    pub(super) overlay: Sha256,
    /// In seconds since 1970.
    pub(super) at: u64,
    /// The serial of the release; `None` if there was none to read.
    pub(super) serial: Option<u64>,
    /// The serial of this node's image, from the last release that was this image.
    pub(super) own: Option<u64>,
    /// Why the node did not begin to install a newer image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Outcome {
    /// The order.
    pub(super) id: String,
    pub(super) serial: u64,
    pub(super) end: End,
    /// Why, or what needs a reboot.
    pub(super) why: String,
    /// The boot after which a reboot is still needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) boot: Option<String>,
    /// In seconds since 1970.
    pub(super) at: u64,
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum End {
    /// The node has the new image, and proved itself.
    Updated,
    /// The node restored the previous image, as ordered.
    RolledBack,
    /// The new image failed, and the node has its previous image.
    TakenBack,
    /// The node did not begin before the deadline.
    GivenUp,
    /// The node must not install this release.
    Refused,
}

/// Reads one of these files; `None` if it does not exist.
fn read<T: DeserializeOwned>(path: &str) -> Result<Option<T>> {
    let Some(bytes) = files::read_if_there(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).with_context(|| {
        format!("cannot read {path}. If no update is under way, remove it; otherwise reinstall this node")
    })
}

fn write<T: Serialize>(path: &str, value: &T) -> Result<()> {
    if !files::exists(Path::new(paths::UPDATE))? {
        DesiredDir::new(paths::UPDATE, 0o700, ROOT).make()?;
    }
    DesiredFile::new(path, serde_json::to_vec(value)?)
        .mode(0o600, ROOT)
        .write()
}

impl State {
    /// The current order, if there is one.
    pub(super) fn read() -> Result<Option<Self>> {
        read(paths::UPDATE_STATE)
    }

    /// Makes it durable.
    pub(super) fn write(&self) -> Result<()> {
        write(paths::UPDATE_STATE, self)
    }

    /// Writes the new phase.
    pub(super) fn enter(&mut self, phase: Phase) -> Result<()> {
        self.phase = phase;
        self.boot = boot()?;
        self.write()
    }

    /// Writes how the order ended, and ends it.
    pub(super) fn end(&self, end: End, why: impl Into<String>) -> Result<Outcome> {
        let (id, serial, why) = (self.id.clone(), self.order.serial, why.into());
        let needs_reboot = end == End::Updated && !why.is_empty();
        let outcome = Outcome {
            id,
            serial,
            end,
            why,
            boot: needs_reboot.then(boot).transpose()?,
            at: crate::snapshot::list::now(),
        };
        write(paths::UPDATE_OUTCOME, &outcome)?;
        files::remove(paths::UPDATE_STATE)?;
        Ok(outcome)
    }
}

impl Updated {
    /// The last update of this node.
    pub(super) fn read() -> Result<Option<Self>> {
        read(paths::UPDATED)
    }

    /// Makes it durable.
    pub(super) fn write(&self) -> Result<()> {
        write(paths::UPDATED, self)
    }
}

impl Outcome {
    /// How the last order ended.
    pub(super) fn read() -> Result<Option<Self>> {
        read(paths::UPDATE_OUTCOME)
    }
}

impl Look {
    /// The last look.
    pub(super) fn read() -> Result<Option<Self>> {
        read(paths::UPDATE_LOOK)
    }

    /// Makes it durable.
    pub(super) fn write(&self) -> Result<()> {
        write(paths::UPDATE_LOOK, self)
    }
}

/// The kernel's name for this boot.
pub(super) fn boot() -> Result<String> {
    Ok(
        String::from_utf8_lossy(&files::read("/proc/sys/kernel/random/boot_id")?)
            .trim()
            .to_owned(),
    )
}
