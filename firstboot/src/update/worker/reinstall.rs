//! Restarts the node into the installer, or returns to the old system if the machine was not
//! installed.
//!
//! The order to reinstall the node is stored on the old `/`, which the installation erases.
//! Therefore, an order that still exists after a boot means that the machine was not installed. The
//! server may then still be ready to install the machine at any later boot, so the node withdraws
//! its request before it releases the turn.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use recipes::ReleaseDocument;
use recipes::reinstallation::{ReinstallAnswer, ReinstallRequest};
use url::Url;

use super::super::reinstall::ask;
use super::super::state::{UpdatePhase, UpdateState};
use super::super::this_node::ThisNode;
use super::steps::{request_reboot, say, stop};
use super::turn::CHECK_PAUSE;
use crate::exit::{Exit, code_of};
use crate::lock::Lock;
use crate::reason::ReasonId;

/// The time for which the node repeats a request to a server that does not answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(60);
/// The time for which the node tries to withdraw its request.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(600);
/// The time within which a server with `--power` switches the machine off and on. `builder serve`
/// waits up to 120 s for each of the four calls of its `--power` program.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(600);

/// Stops etcd. After this step, the node may ask the server to install the machine.
pub(super) fn begin(state: &mut UpdateState, _lock: &Lock) -> Result<()> {
    say(format!(
        "stopping etcd, and asking the server to install this machine again with image {}",
        state.order.serial
    ));
    stop()?;
    state.enter(UpdatePhase::Installing)
}

/// Asks the server to install the machine, and restarts the node. systemd stops this process. If
/// the node does not restart, it withdraws its request and keeps its old system.
pub(super) fn restart_into_installer(state: &mut UpdateState) -> Result<()> {
    let _lock = Lock::take()?;
    // Flush all file systems, because a server with `--power` switches the machine off without a
    // shutdown.
    nix::unistd::sync();
    let why = match ask_patiently(state, ReinstallRequest::Install, ASK_TIMEOUT) {
        Ok(answer) => {
            if answer.switches_machine {
                say("waiting until the server switches this machine off and on");
                std::thread::sleep(SWITCH_TIMEOUT);
            }
            say(
                "rebooting this node into the installer; `firstboot status` on another node shows \
                 which node has the turn",
            );
            request_reboot();
            ReasonId::UpdateNotInstalled
                .because("this node did not reboot")
                .to_string()
        }
        Err(error) => format!("{error:#}"),
    };
    state.why = Some(why);
    state.enter(UpdatePhase::Withdrawing)
}

/// Returns the reason to report if a node boots its old system after it has requested a
/// reinstallation.
pub(super) fn booted_old_system() -> String {
    ReasonId::UpdateNotInstalled
        .because(
            "the machine booted its old system instead of the installer: it must boot from the \
             network first, and `builder serve` must answer",
        )
        .to_string()
}

/// Withdraws the request, so that the server no longer installs the machine. If this fails, only
/// logs the failure.
pub(super) fn withdraw(state: &UpdateState) {
    if let Err(error) = ask_patiently(state, ReinstallRequest::Withdraw, WITHDRAW_TIMEOUT) {
        say(format!(
            "the server may still install this machine when it boots from the network, because the \
             node could not withdraw its request: {error:#}"
        ));
    }
}

/// Repeats a request until the server answers, for at most `patience`.
fn ask_patiently(
    state: &UpdateState,
    request: ReinstallRequest,
    patience: Duration,
) -> Result<ReinstallAnswer> {
    let (own, begun) = (ThisNode::read()?, Instant::now());
    let (server, release) = order_of(state)?;
    let mut logged = String::new();
    loop {
        match ask(&own, server, release, request) {
            Err(error) if code_of(&error) != Exit::Refused && begun.elapsed() < patience => {
                let why = format!("{error:#}");
                if why != logged {
                    say(format!("the server does not answer yet: {why}"));
                    logged = why;
                }
                std::thread::sleep(CHECK_PAUSE);
            }
            answer => return answer,
        }
    }
}

fn order_of(state: &UpdateState) -> Result<(&Url, &ReleaseDocument)> {
    let order = &state.order;
    let both = order.reinstall.as_ref().zip(order.release.as_ref());
    both.context("a bug: the order is not a reinstallation")
}
