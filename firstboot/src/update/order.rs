//! Stores an order, which firstboot-update.service executes.

use std::path::Path;

use anyhow::Result;
use members::timestamp::rfc3339;

use super::state::{Replacement, UpdateOrder, UpdatePhase, UpdateState, Updated};
use super::this_node::ThisNode;
use crate::reason::{Reason, ReasonId};
use crate::steps::selinux;
use crate::{files, paths};

/// Durably stores the order and a copy of the program that executes it. Removes the log of the
/// previous order.
pub(super) fn begin(own: &ThisNode, order: UpdateOrder) -> Result<UpdateState> {
    let replacement = match (&order.release, Updated::read()?) {
        (
            None,
            Some(Updated {
                replacement: Some(replacement),
                ..
            }),
        ) => replacement,
        _ => Replacement::default(),
    };
    let mut state = UpdateState {
        id: format!("{:032x}", u128::from_be_bytes(random()?)),
        node: own.node.clone(),
        order,
        phase: UpdatePhase::Waiting,
        replacement,
        turn: false,
        downgrade: None,
        boot: String::new(),
        replacement_boot: String::new(),
        boots: 0,
        why: None,
        marks_release_failed: false,
    };
    // Store the program before the order, because a unit that finds an order needs the program.
    files::remove(paths::UPDATE_LOG)?;
    files::install::install_copy(Path::new(paths::PROGRAM), Path::new(paths::UPDATER))?;
    if let Some(label) = selinux::one(Path::new(paths::UPDATER)) {
        label.apply()?;
    }
    state.enter(UpdatePhase::Waiting)?;
    Ok(state)
}

/// Returns the reason to drop an order whose deadline passed while the updater was not running.
pub(super) fn missed_deadline(order: &UpdateOrder) -> Reason {
    let serial = order.serial;
    let (what, option) = match (&order.release, &order.reinstall) {
        (None, _) => (format!("roll image {serial} back"), " --rollback"),
        (_, Some(_)) => (
            format!("install this machine again with image {serial}"),
            " --reinstall",
        ),
        (_, None) => (format!("install image {serial}"), ""),
    };
    ReasonId::UpdateDeadline.because(format!(
        "this node dropped the order to {what}, because the deadline of the order, {}, passed \
         while the node was off or firstboot-update.service was stopped. Run `firstboot \
         update{option}` again",
        rfc3339(order.until)
    ))
}

fn random() -> Result<[u8; 16]> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 16];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("the operating system returned no random bytes"))?;
    Ok(bytes)
}
