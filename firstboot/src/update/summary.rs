//! Collects the information about updates that `firstboot status` shows: the image of this node,
//! the node's own update, and the state that the members share in etcd.

use anyhow::Result;
use recipes::{ClusterDocument, Sha256};
use serde::Serialize;

use super::state::{
    LastCheck, OrderOutcome, UpdatePhase, UpdateResult, UpdateState, Updated, boot,
};
use super::update_keys::UpdateKeys;
use crate::etcd::{Client, Credentials};
use crate::reason::{Reason, ReasonId};
use crate::{files, paths};
use members::keys::{FailedRelease, UpdateHalt, UpdateTurn};
use members::timestamp::rfc3339;

/// The state of updates on this node and in the cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Summary {
    /// Whether the node updates itself without an operator.
    auto: bool,
    /// The serial of this node's image. A newly installed node does not have a serial until its
    /// first check for a newer image.
    serial: Option<u64>,
    /// The update that this node is performing.
    order: Option<Order>,
    /// The node that has the turn, and the serial of the image that it installs or rolls back.
    turn: Option<UpdateTurn>,
    halt: Option<UpdateHalt>,
    /// The newest release, if that release has failed.
    failed: Option<FailedSerial>,
    /// The outcome of this node's last order.
    last: Option<OrderOutcome>,
    /// The facts that an operator must know.
    reasons: Vec<Reason>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Order {
    serial: u64,
    phase: UpdatePhase,
    /// Whether the order rolls back the image with this serial.
    rollback: bool,
    /// Whether the order installs the machine again.
    reinstall: bool,
}

#[derive(Debug, Serialize)]
struct FailedSerial {
    serial: u64,
    #[serde(flatten)]
    failed: FailedRelease,
}

/// The state of updates on this node's disk.
#[derive(Debug, Default)]
struct Local {
    /// The digest of the overlay of this node's image.
    overlay: Option<Sha256>,
    updated: Option<Updated>,
    state: Option<UpdateState>,
    last: Option<OrderOutcome>,
    look: Option<LastCheck>,
    /// The kernel's id for this boot.
    boot: String,
}

impl Summary {
    /// Reads the state on the disk and, if `endpoint` is given, the state that the members share in
    /// etcd. `endpoint` is the client URL of a member that answers a linearizable read.
    pub(crate) async fn ask(
        cluster: &ClusterDocument,
        endpoint: Option<&str>,
        credentials: &Credentials,
    ) -> Self {
        let mut errors = Vec::new();
        let local = Local::read().unwrap_or_else(|error| {
            errors.push(Reason::from(format!("{error:#}")));
            Local::default()
        });
        let update_keys = async {
            let Some(endpoint) = endpoint else {
                return Ok(UpdateKeys::default());
            };
            UpdateKeys::latest(&Client::connect(endpoint, credentials).await?).await
        };
        let update_keys = update_keys.await.unwrap_or_else(|error: anyhow::Error| {
            errors.push(format!("cannot read the state of updates: {error:#}").into());
            UpdateKeys::default()
        });
        let auto = cluster
            .update
            .as_ref()
            .is_some_and(|update| update.auto().is_some());
        let mut summary = Self::of(auto, local, update_keys);
        summary.reasons.extend(errors);
        summary
    }

    /// Computes the summary from these facts, without I/O.
    fn of(auto: bool, local: Local, update_keys: UpdateKeys) -> Self {
        let serial = local.serial();
        let mut reasons = Vec::new();
        let updated = local.updated.as_ref();
        let busy = local.state.as_ref();
        let busy = busy.map(|state| under_way(state, state.keeps_image(updated)));
        let own = local.state.as_ref().map(|state| &state.node);
        reasons.extend(busy);
        let turn = update_keys.turn.value.as_ref();
        reasons.extend(
            turn.filter(|turn| Some(&turn.node) != own)
                .map(UpdateTurn::reason),
        );
        reasons.extend(update_keys.halt.value.as_ref().map(UpdateHalt::reason));
        let newest = update_keys.newest.value.map_or(0, |newest| newest.serial);
        let failed = update_keys.failed.value.clone();
        let is_newer = |other: u64| serial.is_none_or(|serial| other > serial);
        if let Some(failed) = failed.as_ref().filter(|_| is_newer(newest)) {
            reasons.push(failed.reason(newest));
        }
        if local.state.is_none() {
            for reason in local.kept_image(failed.as_ref().map(|_| newest)) {
                // Show the recorded reason only if the cluster's state does not contain the same
                // reason, because the cluster's state is more recent.
                if !reasons
                    .iter()
                    .any(|known| known.id.is_some() && known.id == reason.id)
                {
                    reasons.push(reason);
                }
            }
        }
        Self {
            auto,
            serial,
            order: local.state.as_ref().map(|state| Order {
                serial: state.order.serial,
                phase: state.phase,
                rollback: state.order.release.is_none(),
                reinstall: state.order.reinstall.is_some(),
            }),
            turn: update_keys.turn.value,
            halt: update_keys.halt.value,
            failed: failed.map(|failed| FailedSerial {
                serial: newest,
                failed,
            }),
            last: local.last,
            reasons,
        }
    }

    /// Returns a line about the image if its serial is known, and a line for each reason.
    pub(crate) fn lines(&self) -> String {
        let image = self.serial.map(|serial| format!("image: {serial}\n"));
        let reasons = self
            .reasons
            .iter()
            .map(|reason| format!("update: {reason}\n"));
        image.into_iter().chain(reasons).collect()
    }
}

/// Returns the serial of this node's image, if it is known.
pub(crate) fn own_serial() -> Result<Option<u64>> {
    Ok(Local::read()?.serial())
}

impl Local {
    fn read() -> Result<Self> {
        let overlay = files::read_if_there(paths::INSTALLED)?;
        Ok(Self {
            overlay: overlay.and_then(|text| String::from_utf8_lossy(&text).trim().parse().ok()),
            updated: Updated::read()?,
            state: UpdateState::read()?,
            last: OrderOutcome::read()?,
            look: LastCheck::read()?,
            boot: boot()?,
        })
    }

    /// Returns the serial of this node's image, if it is known. The last check may have found the
    /// same image with a higher serial, because the recipe was changed and changed back.
    fn serial(&self) -> Option<u64> {
        let updated = self.updated.as_ref().map(|updated| updated.serial);
        let look = self.look.as_ref();
        let seen = look.filter(|look| Some(look.overlay) == self.overlay);
        updated.max(seen.and_then(|look| look.own))
    }

    /// Returns the reasons to show: why the node did not install a newer image, why it keeps a
    /// failed image, and why the last update still requires a reboot.
    fn kept_image(&self, failed: Option<u64>) -> Vec<Reason> {
        let serial = self.serial();
        let is_newer = |other: u64| serial.is_none_or(|serial| other > serial);
        let mut reasons = Vec::new();
        if let Some(last) = &self.last {
            let newer_look = self.look.as_ref().is_some_and(|look| look.at > last.at);
            let why = Reason::parse(&last.why);
            match last.end {
                UpdateResult::Reverted if is_newer(last.serial) && failed != Some(last.serial) => {
                    reasons.push(ReasonId::UpdateTakenBack.because(format!(
                        "this node reverted image {} on {}: {}",
                        last.serial,
                        rfc3339(last.at),
                        last.why
                    )));
                }
                UpdateResult::NewImageKept => reasons.push(ReasonId::UpdateKept.because(format!(
                    "image {} failed on this node on {}, but the node keeps it: {}",
                    last.serial,
                    rfc3339(last.at),
                    last.why
                ))),
                // The dropped order may also be a rollback, or a reinstallation from the node's own
                // image. Therefore, show the reason even if the image is not newer.
                UpdateResult::NotUpdated
                    if why.id == Some(ReasonId::UpdateDeadline) && !newer_look =>
                {
                    reasons.push(why);
                }
                UpdateResult::NotUpdated | UpdateResult::Refused
                    if is_newer(last.serial) && !newer_look =>
                {
                    reasons.push(why.map(|why| {
                        format!("this node did not install image {}: {why}", last.serial)
                    }));
                }
                UpdateResult::Updated if last.boot.as_ref() == Some(&self.boot) => {
                    reasons.push(ReasonId::UpdateReboot.because(format!(
                        "image {} is not fully applied: {}",
                        last.serial, last.why
                    )));
                }
                _ => {}
            }
        }
        if let Some(look) = &self.look
            && look.serial.is_none_or(is_newer)
            && let Some(why) = &look.why
        {
            reasons.push(Reason::parse(why).map(|why| match look.serial {
                Some(serial) => format!("this node does not install image {serial}: {why}"),
                None => format!("this node cannot check for a newer image: {why}"),
            }));
        }
        reasons
    }
}

/// Describes the order. `keeps_image` is set if the node keeps the image of the order, so that the
/// updater only waits until it can release the turn.
fn under_way(state: &UpdateState, keeps_image: bool) -> Reason {
    let serial = state.order.serial;
    let why = state.why.as_deref().unwrap_or_default();
    ReasonId::UpdateBusy.because(match state.phase {
        UpdatePhase::Waiting if state.order.release.is_none() => {
            format!("this node is waiting for its turn to roll image {serial} back")
        }
        UpdatePhase::Waiting if state.order.reinstall.is_some() => {
            format!("this node is waiting for its turn to be installed again with image {serial}")
        }
        UpdatePhase::Waiting => {
            format!("this node is waiting for its turn to install image {serial}")
        }
        UpdatePhase::Installing => {
            format!("this node is restarting, and the server installs it again with image {serial}")
        }
        UpdatePhase::Withdrawing => {
            format!("this node keeps its old system and has not released its turn yet: {why}")
        }
        UpdatePhase::Replacing => format!("this node is installing image {serial}"),
        UpdatePhase::Rebooting => format!("this node is rebooting to apply image {serial}"),
        UpdatePhase::CheckingHealth if keeps_image && state.why.is_some() => {
            format!(
                "image {serial} failed on this node, but the node keeps it, and cannot release its \
                 turn until etcd has a quorum: {why}"
            )
        }
        UpdatePhase::CheckingHealth if keeps_image => {
            format!(
                "this node has image {serial}, and cannot release its turn until etcd has a quorum"
            )
        }
        UpdatePhase::CheckingHealth if state.why.is_some() => {
            format!(
                "this node is waiting until it can restore the image that it had before image \
                 {serial}: {why}"
            )
        }
        UpdatePhase::CheckingHealth => {
            format!("this node must pass the health check of image {serial}")
        }
        UpdatePhase::Reverting | UpdatePhase::RebootingReverted | UpdatePhase::Recovering => {
            format!("this node is restoring the image that it had before image {serial}: {why}")
        }
    })
}

#[cfg(test)]
mod tests;
