//! Determines whether the cluster can spare this member during an update.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use recipes::{ClusterDocument, EtcdVersion, Label};

use super::this_node::ThisNode;
use super::{etcd_version, update_keys};
use crate::etcd::{Client, Credentials};
use crate::exit::not_ready;
use crate::membership::{PeerClient, QUERY_TIMEOUT, query_others};
use crate::reason::{Reason, ReasonId};
use crate::{paths, rotation, status};
use members::keys::{SnapshotRecord, is_from_wrong_clock};
use members::timestamp::now;

/// The maximum difference between another member's clock and this node's clock, in seconds.
const MAX_CLOCK_DIFFERENCE: i64 = 5;
/// The maximum age, in seconds, of the snapshot that must exist before an update.
const MAX_SNAPSHOT_AGE: u64 = 3600;

pub(super) async fn own_member(credentials: &Credentials) -> Result<Client> {
    let client = Client::connect(paths::OWN_CLIENT_URL, credentials).await;
    client.context("etcd on this node does not answer")
}

/// Returns a client of the first member that answers and is connected to a quorum.
pub(super) async fn any_member(own: &ThisNode, credentials: &Credentials) -> Result<Client> {
    for member in &own.cluster.members {
        if let Ok(client) = Client::connect(&member.client_url(), credentials).await
            && client.healthy().await.is_ok()
        {
            return Ok(client);
        }
    }
    Err(not_ready(
        ReasonId::NoQuorum.because("no member that answers is connected to a quorum"),
    ))
}

/// The members of this node's recipe that may be missing from the cluster's member list. A member
/// that has left the cluster stays in this recipe until the node installs an image whose recipe
/// omits the member.
pub(super) enum MayBeMissing {
    /// No member. A member that is being rebuilt is missing only for a moment, and the cluster
    /// needs the other members in the meantime.
    None,
    /// All members, because the recipe of the new image is not known yet.
    All,
    /// The members that are not in the recipe of the new image.
    NotIn(BTreeSet<Label>),
}

impl MayBeMissing {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::NotIn(next) => !next.iter().any(|member| member.as_str() == name),
        }
    }
}

/// Returns the reason why this member must not stop now and start again with the etcd version
/// `target`, or `None` if the member may stop. If `may_be_ill` is set, ignores the health of
/// this member.
pub(super) async fn obstacle(
    own: &ThisNode,
    credentials: &Credentials,
    (may_be_ill, may_be_missing): (bool, &MayBeMissing),
    target: EtcdVersion,
) -> Result<Option<Reason>> {
    let identity = own.identity()?;
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let (unhealthy, (peers, _)) = tokio::join!(
        unhealthy(own, credentials, may_be_ill, may_be_missing),
        query_others(&identity, &peer_client, credentials, QUERY_TIMEOUT),
    );
    if unhealthy.is_some() {
        return Ok(unhealthy);
    }
    if !rotation::is_complete(&identity) {
        return Ok(Some(
            ReasonId::UpdateRotation.because("a change of the CA is in progress"),
        ));
    }
    if let Some(why) = etcd_version::obstacle(target, &peers) {
        return Ok(Some(why));
    }
    let wrong = peers
        .iter()
        .find(|peer| peer.ahead.abs() > MAX_CLOCK_DIFFERENCE);
    Ok(wrong.map(|peer| {
        let (name, ahead) = (&peer.name, peer.ahead);
        ReasonId::UpdateClock.because(format!(
            "the clock of {name} differs from this node's clock by {ahead} s: check both clocks \
             with `chronyc tracking`"
        ))
    }))
}

/// Returns a reason that names the members that are not healthy voters, or `None` if all members
/// are healthy voters. If `may_be_ill` is set, ignores this node's own member. Ignores the missing
/// members that `may_be_missing` contains.
pub(super) async fn unhealthy(
    own: &ThisNode,
    credentials: &Credentials,
    may_be_ill: bool,
    may_be_missing: &MayBeMissing,
) -> Option<Reason> {
    let ill: Vec<String> = status::unhealthy_members(&own.cluster, credentials)
        .await
        .into_iter()
        .filter(|member| !may_be_ill || member.name != own.node.as_str())
        .filter(|member| member.is_listed || !may_be_missing.contains(&member.name))
        .map(|member| format!("{}: {}", member.name, member.why))
        .collect();
    (!ill.is_empty()).then(|| {
        ReasonId::UpdateNotHealthy.because(format!(
            "not every member is a healthy voter: {}",
            ill.join("; ")
        ))
    })
}

/// Returns whether a member took a snapshot in the last hour, by schedule or for an update.
pub(super) async fn has_snapshot(client: &Client) -> Result<bool> {
    let scheduled = SnapshotRecord::read(client)
        .await?
        .0
        .map(|record| record.time);
    let for_update = update_keys::snapshot_time(client).await?;
    let mut taken = scheduled.into_iter().chain(for_update);
    Ok(taken.any(|time| is_recent(time, now())))
}

/// Returns whether a snapshot with this time is from the last hour.
fn is_recent(time: u64, now: u64) -> bool {
    time.saturating_add(MAX_SNAPSHOT_AGE) > now && !is_from_wrong_clock(time, now)
}

/// Takes a snapshot with `firstboot snapshot`, which checks all pages of the snapshot.
pub(super) fn take_snapshot() -> Result<()> {
    // Do not pass the notification socket on, because systemd would mistake the child process's
    // notifications for the updater's.
    let ran = Command::new(paths::PROGRAM)
        .arg("snapshot")
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .output();
    let ran = ran.context("cannot run `firstboot snapshot`")?;
    if !ran.status.success() {
        let why = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
        return Err(not_ready(ReasonId::UpdateNoSnapshot.because(format!(
            "cannot take a snapshot before the update: {why}"
        ))));
    }
    Ok(())
}

/// Returns whether the other members keep a quorum while this member is down.
pub(super) fn keeps_quorum(cluster: &ClusterDocument) -> bool {
    cluster.members.len() > 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_from_a_wrong_clock_is_not_recent() {
        let now = 1_000_000;
        let recent = [now - 60, now, now + 60].map(|time| is_recent(time, now));
        assert_eq!(recent, [true; 3]);
        let others = [now - MAX_SNAPSHOT_AGE, now + 400 * 86_400].map(|time| is_recent(time, now));
        assert_eq!(others, [false; 2]);
    }
}
