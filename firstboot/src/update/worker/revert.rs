//! If a new image failed and the previous image has an older minor version of etcd, waits until the
//! previous image may be restored.

use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::EtcdVersion;

use super::super::etcd_version::{NextStep, next_step};
use super::super::preconditions::own_member;
use super::super::state::UpdateState;
use super::super::this_node::ThisNode;
use super::downgrade::{data_obstacle, make_ready, members};
use super::steps::{say, stop};
use super::turn::{CHECK_PAUSE, wait_until_spared};
use crate::etcd::installed_credentials;
use crate::exit::reason_of;
use crate::reason::Reason;
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
    /// The previous etcd can start with the member's data. The current etcd has been stopped.
    Possible,
    /// The etcd of the previous image cannot replace the current etcd, for this reason.
    Impossible(Reason),
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
        let step = try_to_stop(state, &own, target, begun.elapsed());
        let why = match step.unwrap_or_else(|error| NextStep::Wait(reason_of(&error))) {
            NextStep::Replace => return Ok(RevertOption::Possible),
            NextStep::Refuse(why) => return Ok(RevertOption::Impossible(why)),
            NextStep::Wait(why) if begun.elapsed() >= READY_TIMEOUT => {
                return Ok(RevertOption::Impossible(why));
            }
            NextStep::Wait(why) => why.to_string(),
            NextStep::Enable => String::new(),
        };
        if !why.is_empty() && why != logged {
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
/// stop.
fn try_to_stop(
    state: &mut UpdateState,
    own: &ThisNode,
    target: EtcdVersion,
    waited: Duration,
) -> Result<NextStep> {
    let seen = block_on(members(own))?;
    if seen.own.is_none() && seen.others.is_empty() && waited < SILENCE_TIMEOUT {
        return Ok(NextStep::Wait("no member answers".to_owned().into()));
    }
    let step = block_on(make_ready(state, target, &seen))?;
    if step != NextStep::Replace {
        return Ok(step);
    }
    stop()?;
    if state.downgrade.is_none() {
        std::thread::sleep(DECISION_TIME);
    }
    let step = match data_obstacle(target) {
        Some(why) => NextStep::Wait(why),
        None => next_step(target, &block_on(members(own))?),
    };
    if step != NextStep::Replace {
        // The cluster changed while etcd was stopping, for example because the members agreed on
        // the newer version, so etcd must run again.
        systemd::start(FIRSTBOOT_UNIT)?;
    }
    Ok(step)
}
