//! `firstboot update --scheduled`: updates the node without an operator. firstboot-update.timer
//! starts this run if the recipe sets `mode = "auto"`.
//!
//! The run accepts a newer node document, looks for a newer image, and orders the same update that
//! an operator orders with `firstboot update`. The run does not wait for the end of the update. If
//! the node does not install a newer image, `firstboot status` shows the reason.

use anyhow::Result;
use recipes::ReleaseDocument;
use recipes::update::{AutoUpdatePolicy, Update};

use super::check_release::{ReleaseCheck, check_release};
use super::order::begin;
use super::source::Source;
use super::state::{LastCheck, UpdateOrder, UpdateState};
use super::this_node::ThisNode;
use super::update_keys::{TurnDecision, UpdateKeys};
use super::{document, preconditions, room, stage, window};
use crate::etcd::installed_credentials;
use crate::exit::{Exit, code_of, reason_of, refused};
use crate::lock::Lock;
use crate::output::say;
use crate::reason::{Reason, ReasonId};
use crate::runtime::block_on;
use crate::systemd;
use crate::systemd::UPDATE_UNIT;
use members::timestamp::now;

/// If the recipe sets no window, an order expires one check period after its creation. If the check
/// period is shorter than this number of seconds, the order expires after this number of seconds.
const MIN_ORDER_LIFETIME: u64 = 600;

pub(super) fn run() -> Result<Option<Exit>> {
    let mut own = ThisNode::read()?;
    let settings = own.cluster.update.clone().unwrap_or_default();
    let auto = settings.auto().ok_or_else(|| {
        refused(ReasonId::UpdateManual.because(
            "the recipe of this image does not set mode = \"auto\" in [update]: the operator \
            starts each update",
        ))
    })?;
    // An update that is already in progress continues by itself.
    let lock = match Lock::take_updates() {
        Err(error) if code_of(&error) == Exit::NotReady => return Ok(None),
        lock => lock?,
    };
    if UpdateState::read()?.is_some() {
        return Ok(None);
    }
    let known = LastCheck::read()?.filter(|known| known.overlay == own.image.overlay);
    let mut seen = LastCheck {
        overlay: own.image.overlay,
        at: now(),
        serial: None,
        own: known.and_then(|known| known.own),
        why: None,
    };
    let source = Source::of(None, settings.from.as_ref())?;
    let newer = if is_open(auto) {
        document::look(&own, &source).usable()
    } else {
        None
    };
    if let Some(newer) = newer.as_ref().filter(|newer| !newer.changes_ca) {
        newer.take(&lock)?;
        own = ThisNode::read()?;
    }
    let decided = stage::retry_if_replaced(|| decide(&own, &source, &settings, auto, &mut seen));
    seen.why = match &decided {
        Ok(Next::Nothing | Next::Begin(_)) => None,
        Ok(Next::Wait(why)) => Some(why.to_string()),
        Err(error) => Some(reason_of(error).to_string()),
    };
    seen.write()?;
    let decided = decided?;
    // No CA may change while an update waits for its turn. Therefore, if this run orders an update,
    // only a later run accepts a document with a different CA.
    if !matches!(decided, Next::Begin(_))
        && let Some(newer) = newer.filter(|newer| newer.changes_ca)
    {
        newer.take(&lock)?;
    }
    match decided {
        Next::Nothing => {}
        Next::Wait(why) => say(format!("this node keeps its image: {why}")),
        Next::Begin(order) => {
            say(format!("ordering the update to image {}", order.serial));
            begin(&own, *order)?;
            // Release the lock, because the unit needs it.
            drop(lock);
            systemd::start(UPDATE_UNIT)?;
        }
    }
    Ok(None)
}

/// Returns whether an update may begin now.
fn is_open(auto: AutoUpdatePolicy) -> bool {
    window::obstacle(auto.window).is_none()
}

/// The action that follows from the search for a newer image.
enum Next {
    /// The node has the newest image.
    Nothing,
    /// The node does not install the newer image now, for this reason.
    Wait(Reason),
    /// Execute this order.
    Begin(Box<UpdateOrder>),
}

/// Looks for a release, records its serial in `seen`, and stages the release if this node may
/// install it now.
fn decide(
    own: &ThisNode,
    source: &Source,
    settings: &Update,
    auto: AutoUpdatePolicy,
    seen: &mut LastCheck,
) -> Result<Next> {
    let release = own.fetch(source)?;
    seen.serial = Some(release.serial);
    match check_release(&release, &own.image) {
        Ok(ReleaseCheck::Current) => {
            seen.own = seen.serial;
            return Ok(Next::Nothing);
        }
        Ok(ReleaseCheck::Newer) => {}
        // Treat a refusal as a reason to wait. Otherwise, every run would fail until an operator
        // corrects the cause.
        Err(error) if code_of(&error) == Exit::Refused => return Ok(Next::Wait(reason_of(&error))),
        Err(error) => return Err(error),
    }
    let until = match auto.window {
        None => now() + auto.every.period().max(MIN_ORDER_LIFETIME),
        Some(window) => match window::closes_at(window) {
            Some(end) => end,
            None => return Ok(Next::Wait(window::closed(window))),
        },
    };
    // Check for an obstacle before the download, so that runs that find an obstacle do not download
    // the image each time.
    if let Some(why) = block_on(obstacle(own, &release))? {
        return Ok(Next::Wait(why));
    }
    room::check_staged(&stage::stage(source, &release, own)?)?;
    Ok(Next::Begin(Box::new(UpdateOrder {
        serial: release.serial,
        release: Some(release),
        reinstall: None,
        soak: settings.soak_seconds,
        reboot: settings.reboot,
        until,
        window: auto.window,
    })))
}

/// Returns the reason why this node must not order the update, or `None` if it may order the
/// update.
async fn obstacle(own: &ThisNode, release: &ReleaseDocument) -> Result<Option<Reason>> {
    let serial = release.serial;
    let credentials = installed_credentials()?;
    let client = preconditions::own_member(&credentials).await?;
    let update_keys = UpdateKeys::read(&client, serial).await?;
    Ok(match update_keys.decide(&own.node, serial, false) {
        TurnDecision::Take | TurnDecision::Held => {
            let missing = (false, &preconditions::MayBeMissing::All);
            preconditions::obstacle(own, &credentials, missing, release.etcd).await?
        }
        // Another node's turn is not an obstacle, because the order itself waits until the other
        // node has finished, and then takes the turn.
        TurnDecision::Wait(why) if why.id == Some(ReasonId::UpdateTurn) => None,
        TurnDecision::Wait(why) | TurnDecision::Refuse(why) => Some(why),
    })
}
