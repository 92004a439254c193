//! Executes an order in firstboot-update.service. After an interruption, the execution continues
//! from the state on the disk.

mod downgrade;
mod held_turn;
mod reinstall;
mod revert;
mod steps;
mod turn;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::health_check::{HealthCheck, HealthResult};
use super::order::missed_deadline;
use super::resume::{Resumption, resumption};
use super::stage;
use super::state::{UpdatePhase, UpdateResult, UpdateState, Updated, boot};
use super::this_node::ThisNode;
use super::update_keys::TurnDecision;
use crate::exit::{Exit, code_of, reason_of};
use crate::lock::Lock;
use crate::reason::Reason;
use crate::runtime::block_on;
use crate::systemd::FIRSTBOOT_UNIT;
use crate::{files, paths, systemd};
use downgrade::{end_interrupted_downgrade, older_etcd, prepare_cluster};
use members::keys::FailedRelease;
use members::timestamp::now;
use reinstall::{booted_old_system, restart_into_installer, withdraw};
use revert::{RevertOption, wait_until_revertible};
use steps::{
    give_up_leadership, install_new, plan_replacement, reboot, reboot_only_files, revert, say,
    take_lock, was_tried,
};
use turn::{acquire_turn, may_stop, release_turn_patiently, wait_for_turn, wait_until_spared};

/// The pause between two checks of a member that is not healthy yet.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The pause between two checks of a member that must stay healthy.
const SOAK_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The time limit for the member to become healthy on a new image.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(300);

/// Executes the order that is stored on the disk until the order has ended.
pub(super) fn run() -> Result<()> {
    let _lock = Lock::take_updates()?;
    let Some(mut state) = UpdateState::read()? else {
        systemd::notify_ready();
        return Ok(());
    };
    recover(&mut state)?;
    if is_rebooting(&state) {
        // Reboot before firstboot.service and etcd start.
        reboot(&mut state)?;
    }
    // All files now belong to one image, so firstboot.service, which waits for this notification,
    // may start.
    systemd::notify_ready();
    loop {
        let ended = match state.phase {
            UpdatePhase::Waiting => wait(&mut state)?,
            UpdatePhase::Rebooting | UpdatePhase::RebootingReverted => {
                reboot(&mut state).map(|()| false)?
            }
            UpdatePhase::CheckingHealth => wait_for_health(&mut state)?,
            UpdatePhase::Recovering => recovered(&state)?,
            UpdatePhase::Installing => restart_into_installer(&mut state).map(|()| false)?,
            UpdatePhase::Withdrawing => return_to_old_system(&state)?,
            UpdatePhase::Replacing | UpdatePhase::Reverting => bail!("a bug: mixed image files"),
        };
        if ended {
            return Ok(());
        }
    }
}

/// Returns whether the node must reboot before the update can continue.
const fn is_rebooting(state: &UpdateState) -> bool {
    matches!(
        state.phase,
        UpdatePhase::Rebooting | UpdatePhase::RebootingReverted
    )
}

/// After an interruption, determines the phase in which the order continues, and restores a state
/// in which all files belong to one image.
fn recover(state: &mut UpdateState) -> Result<()> {
    let same_boot = state.boot == boot()?;
    let passed = state.keeps_image(Updated::read()?.as_ref());
    match resumption(state.phase, state.boots, same_boot, passed) {
        Resumption::Continue => Ok(()),
        Resumption::Enter { phase, counts } => {
            state.boots += u32::from(counts);
            if phase == UpdatePhase::Withdrawing {
                state.why = Some(booted_old_system());
            }
            state.enter(phase)
        }
        Resumption::Revert { why, failed } => {
            state.record_failure(why, failed);
            if state.phase == UpdatePhase::CheckingHealth && older_etcd(state)?.is_some() {
                // Do not revert here, because the other members must report whether the older etcd
                // may start. The updater queries these members in the phase `CheckingHealth`.
                return state.enter(UpdatePhase::CheckingHealth);
            }
            revert(state, &take_lock(state.phase)?)
        }
        Resumption::RevertAgain => revert(state, &take_lock(state.phase)?),
    }
}

/// Waits for this node's turn, and then replaces the files, rolls the image back or prepares the
/// reinstallation. Returns whether the order has ended.
fn wait(state: &mut UpdateState) -> Result<bool> {
    // An earlier run of this unit may have been interrupted after it stopped firstboot.service and
    // before it replaced any files.
    systemd::start(FIRSTBOOT_UNIT)?;
    let own = ThisNode::read()?;
    let (mut logged, mut snapshot) = (String::new(), false);
    let lock = loop {
        if now() >= state.order.until && was_tried(state)? {
            let missed = || missed_deadline(&state.order).to_string();
            let why = Some(logged).filter(|why| !why.is_empty());
            return end(
                state,
                &own,
                UpdateResult::NotUpdated,
                why.unwrap_or_else(missed),
            );
        }
        let decision = match prepare_to_stop(state, &own, &mut snapshot) {
            Ok(decision) => decision,
            Err(error) if code_of(&error) == Exit::Refused => {
                TurnDecision::Refuse(reason_of(&error))
            }
            Err(error) => TurnDecision::Wait(reason_of(&error)),
        };
        let why = match decision {
            // Take the lock before etcd stops, because a restore may hold the lock for minutes.
            TurnDecision::Take | TurnDecision::Held => match take_lock(state.phase) {
                Ok(lock) => break lock,
                Err(error) => reason_of(&error),
            },
            TurnDecision::Refuse(why) => {
                return end(state, &own, UpdateResult::Refused, why.to_string());
            }
            TurnDecision::Wait(why) => why,
        };
        let why = why.to_string();
        if why != logged {
            say(format!("waiting: {why}"));
            logged = why;
        }
        wait_for_turn(&own);
    };
    if state.order.reinstall.is_some() {
        reinstall::begin(state, &lock)?;
    } else if state.order.release.is_some() {
        install_new(state, &lock)?;
    } else {
        (state.why, state.marks_release_failed) = (
            Some(format!(
                "an operator ordered the rollback on {}",
                state.node
            )),
            true,
        );
        revert(state, &lock)?;
    }
    Ok(false)
}

/// If this member may start its update, takes the turn, and prepares the cluster and the
/// replacement of files. Returns [`TurnDecision::Held`] if the member must stop etcd now.
fn prepare_to_stop(
    state: &mut UpdateState,
    own: &ThisNode,
    snapshot: &mut bool,
) -> Result<TurnDecision> {
    block_on(end_interrupted_downgrade(state, own))?;
    let decision = block_on(acquire_turn(state, own, snapshot))?;
    if decision != TurnDecision::Held {
        return Ok(decision);
    }
    if let Some(decision) = block_on(prepare_cluster(state, own))? {
        return Ok(decision);
    }
    let decision = block_on(async {
        give_up_leadership(own).await;
        may_stop(state, own).await
    })?;
    // Plan the replacement last, because `plan_replacement` deletes the files that the last update
    // kept for its rollback.
    if decision == TurnDecision::Held && state.order.reinstall.is_none() {
        plan_replacement(state)?;
    }
    Ok(decision)
}

/// Ends an order that has not changed this node, and releases the turn.
fn end(state: &UpdateState, own: &ThisNode, end: UpdateResult, why: String) -> Result<bool> {
    say(format!("the node was not changed: {why}"));
    if state.turn {
        release_turn_patiently(state, own, None)?;
    }
    stage::remove_staged()?;
    state.end(end, why).map(|_| true)
}

/// Waits until the new image has passed its health check, and then ends the order. Reverts a failed
/// image if possible. Returns whether the order has ended.
fn wait_for_health(state: &mut UpdateState) -> Result<bool> {
    systemd::start(FIRSTBOOT_UNIT)?;
    let etcd = state.order.release.as_ref().map(|release| release.etcd);
    let soak = Duration::from_secs(state.order.soak.into());
    let passed = state.keeps_image(Updated::read()?.as_ref());
    let why = match state.why.clone() {
        // An interrupted run of this unit has already recorded the failure.
        Some(why) if passed => return kept(state, why),
        Some(why) => Some(why),
        None if passed => None,
        None => until_good(state, etcd, soak, Some(HEALTH_TIMEOUT + soak))?,
    };
    if let Some(why) = why {
        return revert_failed_image(state, &why);
    }
    if !passed {
        commit(state)?;
    }
    release_turn_patiently(state, &ThisNode::read()?, None)?;
    stage::remove_staged()?;
    let files = reboot_only_files(state)?;
    let note = if files.is_empty() {
        String::new()
    } else {
        format!("; reboot to apply {}", files.join(", "))
    };
    say(format!(
        "{} has image {}{note}",
        state.node, state.order.serial
    ));
    state
        .end(UpdateResult::Updated, note.trim_start_matches("; "))
        .map(|_| true)
}

fn commit(state: &UpdateState) -> Result<()> {
    let serial_before = Updated::read()?
        .map(|updated| updated.serial)
        .filter(|serial| *serial != state.order.serial);
    Updated {
        serial: state.order.serial,
        serial_before,
        replacement: Some(state.replacement.clone()),
    }
    .write()
}

/// Restores the previous image or, if the previous etcd cannot start with the member's data, keeps
/// the new image and ends the order. Returns whether the order has ended.
fn revert_failed_image(state: &mut UpdateState, why: &str) -> Result<bool> {
    say(format!(
        "the health check of image {} failed: {why}",
        state.order.serial
    ));
    (state.why, state.marks_release_failed) = (Some(why.to_owned()), true);
    let lock = if let Some(target) = older_etcd(state)? {
        state.write()?;
        match wait_until_revertible(state, target)? {
            RevertOption::Possible(lock) => lock,
            RevertOption::Impossible(reason) => return keep(state, why, &reason),
        }
    } else {
        wait_until_spared(state, &ThisNode::read()?);
        take_lock(state.phase)?
    };
    revert(state, &lock).map(|()| false)
}

/// Keeps the new image, because the previous image cannot be restored.
fn keep(state: &mut UpdateState, why: &str, reason: &Reason) -> Result<bool> {
    let why = format!("{why}. The previous image is not restored: {}", reason.text);
    state.why = Some(why.clone());
    state.write()?;
    commit(state)?;
    kept(state, why)
}

/// Ends an order whose image failed but stays in use, and marks the release as failed.
fn kept(state: &UpdateState, why: String) -> Result<bool> {
    say(format!(
        "{} keeps image {}: {why}",
        state.node, state.order.serial
    ));
    let failed = FailedRelease {
        node: state.node.clone(),
        why: why.clone(),
        at: now(),
    };
    release_turn_patiently(state, &ThisNode::read()?, Some(&failed))?;
    stage::remove_staged()?;
    state.end(UpdateResult::NewImageKept, why).map(|_| true)
}

/// After the previous image has been restored, waits until the member is healthy, releases the turn
/// and ends the order.
fn recovered(state: &UpdateState) -> Result<bool> {
    systemd::start(FIRSTBOOT_UNIT)?;
    let rollback = state.order.release.is_none();
    until_good(state, None, Duration::ZERO, None)?;
    let why = state.why.clone().unwrap_or_default();
    let failed = state.marks_release_failed.then(|| FailedRelease {
        node: state.node.clone(),
        why: why.clone(),
        at: now(),
    });
    if rollback {
        let serial = state.order.serial;
        match Updated::read()?.and_then(|updated| updated.after_rollback(serial)) {
            Some(updated) => updated.write()?,
            None => files::remove(paths::UPDATED)?,
        }
    }
    release_turn_patiently(state, &ThisNode::read()?, failed.as_ref())?;
    stage::remove_staged()?;
    let node = &state.node;
    say(format!("{node} is a healthy member on its previous image"));
    let result = if rollback {
        UpdateResult::RolledBack
    } else {
        UpdateResult::Reverted
    };
    state.end(result, why).map(|_| true)
}

/// Continues with the old system of a machine that the server did not install. Returns whether the
/// order has ended.
fn return_to_old_system(state: &UpdateState) -> Result<bool> {
    let why = state.why.clone().unwrap_or_default();
    say(format!("the machine was not installed: {why}"));
    systemd::start(FIRSTBOOT_UNIT)?;
    withdraw(state);
    until_good(state, None, Duration::ZERO, None)?;
    end(state, &ThisNode::read()?, UpdateResult::NotUpdated, why)
}

/// Waits until the member has been healthy for `soak` without interruption. If `patience` is given,
/// returns the reason why the member failed or did not stay healthy for `soak` within that time.
fn until_good(
    state: &UpdateState,
    etcd: Option<recipes::EtcdVersion>,
    soak: Duration,
    patience: Option<Duration>,
) -> Result<Option<String>> {
    let mut check = HealthCheck::new(&state.node, state.order.serial, etcd);
    let (begun, mut good, mut logged) = (Instant::now(), None, String::new());
    loop {
        let why = match block_on(check.run())? {
            HealthResult::Passed => {
                let since = *good.get_or_insert_with(|| {
                    if !soak.is_zero() {
                        say(format!(
                            "the member is healthy and must stay healthy for {} s",
                            soak.as_secs()
                        ));
                    }
                    Instant::now()
                });
                if since.elapsed() >= soak {
                    return Ok(None);
                }
                String::new()
            }
            HealthResult::Failed(why) if patience.is_some() => return Ok(Some(why)),
            HealthResult::Pending(why) | HealthResult::Failed(why) => {
                good = None;
                why
            }
        };
        if patience.is_some_and(|patience| begun.elapsed() >= patience) {
            let why = if why.is_empty() { logged } else { why };
            return Ok(Some(format!(
                "the member must stay healthy for {} s, but did not do so within {} s: {why}",
                soak.as_secs(),
                begun.elapsed().as_secs()
            )));
        }
        if !why.is_empty() && why != logged {
            say(format!("the member is not healthy yet: {why}"));
            logged = why;
        }
        std::thread::sleep(if good.is_some() {
            SOAK_POLL_INTERVAL
        } else {
            POLL_INTERVAL
        });
    }
}
