//! If a new image failed and the previous image has an older minor version of etcd, waits until the
//! previous image may be restored.

use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::EtcdVersion;

use super::super::etcd_version::{NextStep, Obstacle, next_step};
use super::super::preconditions::own_member;
use super::super::state::UpdateState;
use super::super::this_node::ThisNode;
use super::downgrade::{data_obstacle, make_ready, members};
use super::steps::{say, stop, take_lock};
use super::turn::{CHECK_PAUSE, wait_until_spared};
use crate::etcd::installed_credentials;
use crate::exit::reason_of;
use crate::lock::Lock;
use crate::reason::{Reason, ReasonId};
use crate::runtime::block_on;
use crate::systemd;
use crate::systemd::FIRSTBOOT_UNIT;

/// The time limit for the cluster to become ready for the previous minor version of etcd. A cluster
/// usually becomes ready within about 10 s. If etcd keeps exiting, systemd starts etcd about ten
/// times within this limit.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// The time after which firstboot no longer waits if no member answers.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// The time after which a decision of the leader to change the cluster version is visible. The
/// leader may have made such a decision while etcd on this node was still running. The leader
/// decides every 4 s (etcd's monitorVersionInterval).
const DECISION_TIME: Duration = Duration::from_secs(6);

/// Whether a member whose image failed can return to its previous etcd.
pub(super) enum RevertOption {
    /// The previous etcd can start with the member's data. The current etcd has been stopped, and
    /// the lock ensures that no other command starts it.
    Possible(Lock),
    /// The etcd of the previous image cannot replace the current etcd, for this reason.
    Impossible(Reason),
}

/// The outcome of one attempt to stop etcd for the older version.
enum StopAttempt {
    /// The older version may replace etcd, which has been stopped.
    Stopped(Lock),
    /// The older version may not replace etcd yet.
    Blocked(Obstacle),
    /// Another command has the node's lock.
    Busy(Reason),
}

/// Waits until the older version `target` may replace this node's etcd, and until the cluster can
/// spare this member.
pub(super) fn wait_until_revertible(
    state: &mut UpdateState,
    target: EtcdVersion,
) -> Result<RevertOption> {
    let (mut begun, mut logged) = (Instant::now(), String::new());
    loop {
        let own = ThisNode::read()?;
        if block_on(ask_own_etcd()).is_ok() {
            let asked = Instant::now();
            wait_until_spared(state, &own);
            // The time for which the cluster needed this member does not count towards the time
            // limits.
            begun += asked.elapsed();
        }
        let attempt = try_to_stop(state, &own, target, begun.elapsed());
        let why = match attempt {
            Ok(StopAttempt::Stopped(lock)) => return Ok(RevertOption::Possible(lock)),
            Ok(StopAttempt::Blocked(Obstacle::Refuse(why))) => {
                return Ok(RevertOption::Impossible(why));
            }
            Ok(StopAttempt::Blocked(Obstacle::Wait(why))) => why,
            Ok(StopAttempt::Busy(why)) => {
                begun = Instant::now();
                why
            }
            Err(error) => reason_of(&error),
        };
        if begun.elapsed() >= READY_TIMEOUT {
            return Ok(RevertOption::Impossible(why));
        }
        let why = why.to_string();
        if why != logged {
            say(format!(
                "waiting before restoring the previous image: {why}"
            ));
            logged = why;
        }
        std::thread::sleep(CHECK_PAUSE);
    }
}

/// Fails if etcd on this node does not answer.
async fn ask_own_etcd() -> Result<()> {
    own_member(&installed_credentials()?).await.map(drop)
}

/// Stops etcd if the older version may replace it. The leader may raise the cluster version until
/// etcd has stopped, so the function reads the data and queries the members once more after the
/// stop. In the meantime, the lock prevents other commands from starting etcd. If the older version
/// may not replace etcd after all, lets firstboot.service start etcd again.
fn try_to_stop(
    state: &mut UpdateState,
    own: &ThisNode,
    target: EtcdVersion,
    waited: Duration,
) -> Result<StopAttempt> {
    let seen = block_on(members(own))?;
    if seen.own.is_none() && seen.others.is_empty() && waited < SILENCE_TIMEOUT {
        let silent = Obstacle::Wait("no member answers".to_owned().into());
        return Ok(StopAttempt::Blocked(silent));
    }
    if let Some(obstacle) = block_on(make_ready(state, target, &seen))? {
        return Ok(StopAttempt::Blocked(obstacle));
    }
    let lock = match take_lock(state.phase) {
        Ok(lock) => lock,
        Err(error) => return Ok(StopAttempt::Busy(reason_of(&error))),
    };
    let obstacle = match stop_and_check(state, own, target) {
        Ok(None) => return Ok(StopAttempt::Stopped(lock)),
        Ok(Some(obstacle)) => Ok(obstacle),
        Err(error) => Err(error),
    };
    drop(lock);
    systemd::start(FIRSTBOOT_UNIT)?;
    obstacle.map(StopAttempt::Blocked)
}

/// Stops etcd, and decides again whether the older version may replace it. The members may have
/// agreed on the newer version while etcd was stopping.
fn stop_and_check(
    state: &UpdateState,
    own: &ThisNode,
    target: EtcdVersion,
) -> Result<Option<Obstacle>> {
    stop()?;
    if state.downgrade.is_none() {
        std::thread::sleep(DECISION_TIME);
    }
    if let Some(why) = data_obstacle(target) {
        return Ok(Some(Obstacle::Wait(why)));
    }
    Ok(match next_step(target, &block_on(members(own))?) {
        NextStep::Replace => None,
        NextStep::Blocked(obstacle) => Some(obstacle),
        // The next attempt enables the downgrade, while etcd is running on this node.
        NextStep::Enable => Some(Obstacle::Wait(ReasonId::UpdateDowngrade.because(
            "the cluster took over the newer version while etcd was stopping on this node",
        ))),
    })
}
