//! Restarts etcd on one member at a time, and only while all other members are healthy. A leader
//! first transfers its leadership, if there is another member.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::observe::{confirm_single_member, peers};
use crate::backoff::pause;
use crate::etcd::{Client, Credentials, installed_credentials, probe_local};
use crate::identity::Identity;
use crate::lease_lock::LeaseLock;
use crate::membership::{transfer_leadership, unhealthy};
use crate::output::say;
use crate::reason::{Reason, ReasonId};
use crate::systemd::ETCD_UNIT;
use crate::{paths, systemd};
use members::keys::{KeyState, RESTART, TURN, UpdateTurn};

/// The time limit for etcd to become healthy again.
const RESTART_TIMEOUT: Duration = Duration::from_secs(120);

/// Restarts etcd, or returns the reason why etcd cannot restart yet.
pub(super) async fn restart(identity: &Identity, member: u64) -> Option<Reason> {
    // A failure is a reason to wait, because another attempt may succeed.
    try_restart(identity, member).await.unwrap_or_else(|error| {
        Some(ReasonId::EtcdUnhealthy.because(format!("cannot restart etcd: {error:#}")))
    })
}

async fn try_restart(identity: &Identity, member: u64) -> Result<Option<Reason>> {
    let credentials = installed_credentials()?;
    let others = peers(identity).await?;
    let Some(helper) = others.first() else {
        // No other member answers. If this member is the only member, firstboot must not wait for
        // another member.
        confirm_single_member(member).await?;
        return restart_unit(&credentials).await.map(|()| None);
    };
    // Acquire the lock through another member, because the renewals of the lock must continue while
    // etcd on this node is stopped.
    let client = Client::connect(&helper.url, &credentials).await?;
    let name = &identity.node.name;
    let turn = KeyState::<UpdateTurn>::read(&client, TURN).await?;
    let seen = match turn.restart_condition(name) {
        Ok(seen) => seen,
        Err(turn) => {
            return Ok(Some(ReasonId::MembersUnhealthy.because(format!(
                "{} is updating itself at the moment",
                turn.node
            ))));
        }
    };
    let Some(lock) = LeaseLock::try_acquire(&client, RESTART, name.as_str(), &seen).await? else {
        return Ok(Some(
            ReasonId::MembersUnhealthy.because("another member is restarting at the moment"),
        ));
    };
    let done = lock.hold(async {
        // The previous holder of the lock may have restarted its etcd since the first query.
        if let Some(why) = prepare_restart(identity, &credentials, member).await? {
            return Ok(Some(why));
        }
        restart_unit(&credentials).await.map(|()| None)
    });
    let done = done.await;
    lock.release().await;
    done
}

/// Prepares the cluster for the restart of this member, or returns the reason why this member must
/// not restart at the moment.
async fn prepare_restart(
    identity: &Identity,
    credentials: &Credentials,
    member: u64,
) -> Result<Option<Reason>> {
    let others = peers(identity).await?;
    let ill = unhealthy(&others, member);
    if others.is_empty() {
        return Ok(Some(ReasonId::MembersUnhealthy.because(
            "etcd must restart, but firstboot restarts it only while another member answers",
        )));
    }
    if !ill.is_empty() {
        return Ok(Some(ReasonId::MembersUnhealthy.because(format!(
            "etcd must restart, but firstboot waits until these members are healthy: {}",
            ill.join(", ")
        ))));
    }
    let client = Client::connect(paths::OWN_CLIENT_URL, credentials).await?;
    transfer_leadership(&client, &others).await?;
    Ok(None)
}

async fn restart_unit(credentials: &Credentials) -> Result<()> {
    say("restarting etcd");
    let (before, begun) = (systemd::main_process(ETCD_UNIT)?, Instant::now());
    systemd::restart(ETCD_UNIT)?;
    loop {
        // The old process keeps answering until systemd has stopped it.
        let new = systemd::main_process(ETCD_UNIT)? != before;
        let why = match probe_local(credentials).await {
            Ok(_) if new => return Ok(()),
            Ok(_) => "the old process is still running".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if begun.elapsed() > RESTART_TIMEOUT {
            return Err(anyhow!(
                "etcd is not healthy {} s after its restart: {why}",
                RESTART_TIMEOUT.as_secs()
            ));
        }
        pause(begun).await;
    }
}
