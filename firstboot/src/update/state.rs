//! Stores the state of updates on the disk: the current order with its progress, the last update,
//! and the outcome of the last order.

use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::update::Reboot;
use recipes::{Label, ReleaseDocument, Sha256, Window};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use super::file_changes::FileChange;
use super::kernel_settings::KernelSettings;
use crate::files::{self, DesiredDir, DesiredFile, ROOT};
use crate::paths;

/// An order to update this node, and the progress of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateState {
    /// A random id of this order.
    pub(super) id: String,
    pub(super) node: Label,
    pub(super) order: UpdateOrder,
    pub(super) phase: UpdatePhase,
    /// The planned replacement of files. The value is empty until firstboot has made the plan.
    #[serde(rename = "exchange")]
    pub(super) replacement: Replacement,
    /// Whether the node may have taken the turn.
    pub(super) turn: bool,
    /// The minor version to which this order may have enabled a downgrade of the cluster. firstboot
    /// cancels the downgrade before it releases the turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) downgrade: Option<u64>,
    /// The boot in which the updater last entered a phase.
    pub(super) boot: String,
    /// The boot in which the replacement of files began. The value is empty before the replacement,
    /// and for a rollback.
    #[serde(default, rename = "exchange_boot")]
    pub(super) replacement_boot: String,
    /// The number of boots in which the new image has not passed its health check. The boot that
    /// the update itself ordered does not count.
    pub(super) boots: u32,
    /// The reason why the image failed or is rolled back, or why the machine was not installed.
    pub(super) why: Option<String>,
    /// Whether this order marks the release as failed, so that no other member installs it.
    #[serde(rename = "blame")]
    pub(super) marks_release_failed: bool,
}

/// An order to update this node, from an operator or from the timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateOrder {
    /// The image to install, or `None` for a rollback.
    pub(super) release: Option<ReleaseDocument>,
    /// The server that is to install this machine again from the release, or `None` if the order
    /// replaces files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reinstall: Option<Url>,
    /// The serial of the image to install or, for a rollback, the serial of the image that is
    /// rolled back.
    pub(super) serial: u64,
    /// The number of seconds for which the member must stay healthy.
    pub(super) soak: u32,
    /// The rule that determines whether the node reboots.
    #[serde(default)]
    pub(super) reboot: Reboot,
    /// The deadline for taking the turn, in seconds since 1970.
    pub(super) until: u64,
    /// The time window in which the update may begin, or `None` if the update may always begin, as
    /// with an operator's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<Window>,
}

/// The progress of an order. In the phases `Replacing` and `Reverting`, the files may belong to
/// two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum UpdatePhase {
    /// The member is waiting for its turn and has not changed anything.
    Waiting,
    /// The files of the new image are being installed.
    #[serde(rename = "exchanging")]
    Replacing,
    /// All files belong to the new image, and the node must reboot to apply them.
    Rebooting,
    /// All files belong to the new image, and the member must pass the health check.
    #[serde(rename = "proving")]
    CheckingHealth,
    /// The files of the previous image are being restored.
    #[serde(rename = "taking-back")]
    Reverting,
    /// All files belong to the previous image, and the node must reboot to apply them.
    #[serde(rename = "rebooting-back")]
    RebootingReverted,
    /// All files belong to the previous image, and the member must become healthy.
    Recovering,
    /// The server may install the machine, and the node must restart.
    Installing,
    /// The node keeps its old system. The server must no longer install the machine, and the member
    /// must become healthy.
    Withdrawing,
}

impl UpdatePhase {
    /// Returns true if the files may belong to two images in this phase, or if the image may not
    /// have passed its health check. In the other phases, the updater does not revert an image if
    /// etcd is down.
    const fn may_revert(self) -> bool {
        match self {
            Self::Replacing
            | Self::Rebooting
            | Self::CheckingHealth
            | Self::Reverting
            | Self::RebootingReverted => true,
            Self::Waiting | Self::Recovering | Self::Installing | Self::Withdrawing => false,
        }
    }
}

/// The files and folders that an update changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replacement {
    /// The files, in the order of the replacement. The kind of each change depends on the files
    /// that were on the disk.
    pub(super) files: Vec<FileChange>,
    /// The folders that the replacement creates. A folder precedes the folders in it.
    pub(super) folders: Vec<String>,
    /// The values that the kernel settings in the changed files had before the replacement.
    #[serde(default, skip_serializing_if = "KernelSettings::is_empty")]
    pub(super) settings: KernelSettings,
}

/// The image to which this node was updated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Updated {
    pub(super) serial: u64,
    /// The serial of the previous image, if that image was installed by an update.
    pub(super) serial_before: Option<u64>,
    /// The replacement that a rollback must undo, or `None` if the update can no longer be rolled
    /// back.
    #[serde(rename = "exchange")]
    pub(super) replacement: Option<Replacement>,
}

/// The result of the last check for a newer image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LastCheck {
    /// The digest of the overlay of this node's image.
    pub(super) overlay: Sha256,
    /// The time of the check, in seconds since 1970.
    pub(super) at: u64,
    /// The serial of the release, or `None` if no release could be read.
    pub(super) serial: Option<u64>,
    /// The serial of this node's image, from the last release that contained the same image.
    pub(super) own: Option<u64>,
    /// The reason why the node did not start to install a newer image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

/// The outcome of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct OrderOutcome {
    /// The id of the order.
    pub(super) id: String,
    pub(super) serial: u64,
    pub(super) end: UpdateResult,
    /// The reason for the outcome, or a note about the changes that need a reboot.
    pub(super) why: String,
    /// The boot in which the order ended, if the node must reboot to complete the update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) boot: Option<String>,
    /// The time at which the order ended, in seconds since 1970.
    pub(super) at: u64,
}

/// The way in which an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum UpdateResult {
    /// The node has the new image, and has passed its health check.
    Updated,
    /// The node restored the previous image, as ordered.
    RolledBack,
    /// The new image failed, and the node has its previous image again.
    #[serde(rename = "taken-back")]
    Reverted,
    /// The new image failed, but the node keeps the new image, because the previous etcd cannot
    /// start with the member's data.
    #[serde(rename = "kept")]
    NewImageKept,
    /// The node did not start the update before the deadline, or the server did not install the
    /// machine.
    #[serde(rename = "given-up")]
    NotUpdated,
    /// The node must not install this release.
    Refused,
}

impl UpdateResult {
    /// Returns whether the node has the ordered image after an order with this result.
    pub(super) const fn has_new_image(self) -> bool {
        matches!(self, Self::Updated | Self::NewImageKept)
    }
}

/// Reads one of the state files. Returns `None` if the file does not exist.
fn read<T: DeserializeOwned>(path: &str) -> Result<Option<T>> {
    let Some(bytes) = files::read_if_there(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).with_context(|| {
        format!("cannot parse {path}. If no update is in progress, remove the file; otherwise reinstall this node")
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

impl UpdateState {
    pub(super) fn read() -> Result<Option<Self>> {
        read(paths::UPDATE_STATE)
    }

    pub(super) fn write(&self) -> Result<()> {
        write(paths::UPDATE_STATE, self)
    }

    /// Returns whether this order has recorded its image as the image of this node. From then on,
    /// the updater keeps the image, and only waits until it can release the turn. `updated` is the
    /// image to which this node was updated.
    pub(super) fn keeps_image(&self, updated: Option<&Updated>) -> bool {
        self.order.release.is_some()
            && updated.is_some_and(|updated| updated.serial == self.order.serial)
    }

    /// Returns true if other programs must not stop etcd now, because the updater may then revert
    /// the image.
    pub(super) fn needs_etcd(&self, updated: Option<&Updated>) -> bool {
        let is_checked = self.phase == UpdatePhase::CheckingHealth && self.keeps_image(updated);
        self.phase.may_revert() && !is_checked
    }

    /// Records the reason why the updater restores the previous image, unless an earlier run has
    /// recorded the reason. If `failed` is set, the release is marked as failed.
    pub(super) fn record_failure(&mut self, why: String, failed: bool) {
        self.why.get_or_insert(why);
        self.marks_release_failed |= failed;
    }

    /// Writes the new phase.
    pub(super) fn enter(&mut self, phase: UpdatePhase) -> Result<()> {
        self.phase = phase;
        self.boot = boot()?;
        self.write()
    }

    /// Writes the outcome of the order, and ends the order.
    pub(super) fn end(&self, end: UpdateResult, why: impl Into<String>) -> Result<OrderOutcome> {
        let (id, serial, why) = (self.id.clone(), self.order.serial, why.into());
        let needs_reboot = end == UpdateResult::Updated && !why.is_empty();
        let outcome = OrderOutcome {
            id,
            serial,
            end,
            why,
            boot: needs_reboot.then(boot).transpose()?,
            at: members::timestamp::now(),
        };
        write(paths::UPDATE_OUTCOME, &outcome)?;
        files::remove(paths::UPDATE_STATE)?;
        Ok(outcome)
    }
}

impl Updated {
    pub(super) fn read() -> Result<Option<Self>> {
        read(paths::UPDATED)
    }

    pub(super) fn write(&self) -> Result<()> {
        write(paths::UPDATED, self)
    }

    /// Returns the record after the image with this serial has been rolled back, or `None` if no
    /// update installed the previous image. If the record is about another image, an earlier
    /// attempt has already recorded the rollback, and the function returns the record unchanged.
    pub(super) fn after_rollback(self, serial: u64) -> Option<Self> {
        if self.serial != serial {
            return Some(self);
        }
        Some(Self {
            serial: self.serial_before?,
            serial_before: None,
            replacement: None,
        })
    }
}

impl OrderOutcome {
    pub(super) fn read() -> Result<Option<Self>> {
        read(paths::UPDATE_OUTCOME)
    }
}

impl LastCheck {
    pub(super) fn read() -> Result<Option<Self>> {
        read(paths::UPDATE_LAST_CHECK)
    }

    pub(super) fn write(&self) -> Result<()> {
        write(paths::UPDATE_LAST_CHECK, self)
    }
}

/// Returns the kernel's id for this boot.
pub(super) fn boot() -> Result<String> {
    Ok(
        String::from_utf8_lossy(&files::read("/proc/sys/kernel/random/boot_id")?)
            .trim()
            .to_owned(),
    )
}

#[cfg(test)]
pub(super) mod tests;
