//! Prepares the cluster for another minor version of etcd on this node, and cancels the cluster's
//! downgrade afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use recipes::EtcdVersion;
use serde::Deserialize;

use super::super::etcd_version::{MemberReports, NextStep, Obstacle, next_step, reports_downgrade};
use super::super::file_changes::FileChange;
use super::super::state::UpdateState;
use super::super::this_node::ThisNode;
use super::super::update_keys::TurnDecision;
use super::held_turn::keep_turn;
use super::steps::say;
use crate::etcd::{Client, installed_credentials};
use crate::exit::not_ready;
use crate::membership::{PeerClient, QUERY_TIMEOUT, query_others, query_own};
use crate::reason::{Reason, ReasonId};
use crate::{data, files, identity, paths};

/// The time limit for the members to change the cluster version.
const AGREED_TIMEOUT: Duration = Duration::from_secs(60);
/// To make every member take a raft snapshot, firstboot lowers the version of a 3.6 cluster to this
/// minor version for a short time.
const SNAPSHOT_MINOR: u64 = 5;

/// The part of the cluster document that has the same form in the images of all versions.
#[derive(Deserialize)]
struct VersionOfImage {
    etcd: VersionOfEtcd,
}

#[derive(Deserialize)]
struct VersionOfEtcd {
    version: EtcdVersion,
}

/// Returns the etcd version in the previous image's cluster document, or `None` if the replacement
/// does not change the cluster document.
fn kept_etcd(state: &UpdateState) -> Result<Option<EtcdVersion>> {
    let listed = paths::CLUSTER.trim_start_matches('/');
    let is_replaced = |change: &FileChange| change.path == listed;
    if !state.replacement.files.iter().any(is_replaced) {
        return Ok(None);
    }
    let kept = format!("{}{}", paths::UPDATE_PREVIOUS, paths::CLUSTER);
    let image: VersionOfImage = serde_json::from_slice(&files::read(&kept)?)
        .with_context(|| format!("{kept} does not contain an etcd version"))?;
    Ok(Some(image.etcd.version))
}

/// Returns the etcd version of the previous image, if its minor version is older than the minor
/// version of the image in use.
pub(super) fn older_etcd(state: &UpdateState) -> Result<Option<EtcdVersion>> {
    let in_use = identity::cluster()?.etcd.version;
    Ok(kept_etcd(state)?.filter(|kept| kept.minor < in_use.minor))
}

/// Returns the etcd version that runs on this node after the order.
pub(super) fn target(state: &UpdateState, own: &ThisNode) -> Result<EtcdVersion> {
    match &state.order.release {
        Some(release) => Ok(release.etcd),
        None => Ok(kept_etcd(state)?.unwrap_or(own.image.etcd)),
    }
}

/// Prepares the cluster for this etcd version on this node, if the members' state requires a
/// preparation. Returns `None` if this version may replace etcd on this node now.
pub(super) async fn make_ready(
    state: &mut UpdateState,
    target: EtcdVersion,
    members: &MemberReports,
) -> Result<Option<Obstacle>> {
    match next_step(target, members) {
        NextStep::Replace => return Ok(None),
        NextStep::Blocked(obstacle) => return Ok(Some(obstacle)),
        NextStep::Enable => {}
    }
    // Write the minor version first, so that the node cancels the downgrade even after a power cut.
    let minor = target.minor;
    state.downgrade = Some(minor);
    state.write()?;
    say(format!(
        "enabling the downgrade of the cluster to etcd 3.{minor}"
    ));
    let client = Client::connect(paths::OWN_CLIENT_URL, &installed_credentials()?).await?;
    client.enable_downgrade(minor).await?;
    let why = format!("the downgrade of the cluster to etcd 3.{minor} is enabled");
    Ok(Some(Obstacle::Wait(ReasonId::UpdateDowngrade.because(why))))
}

/// Returns the reason why this version of etcd cannot open this node's data, or `None` if no reason
/// is found.
pub(super) fn data_obstacle(target: EtcdVersion) -> Option<Reason> {
    let needed = data::needed_minor(Path::new(paths::DATA));
    let needed = needed.filter(|needed| *needed > target.minor)?;
    Some(ReasonId::UpdateDowngrade.because(format!(
        "only etcd 3.{needed} or later can open this member's data until etcd has migrated the data"
    )))
}

pub(super) async fn members(own: &ThisNode) -> Result<MemberReports> {
    let (identity, credentials) = (own.identity()?, installed_credentials()?);
    let client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let (own, others) = tokio::join!(
        query_own(&identity, &client, &credentials, QUERY_TIMEOUT),
        query_others(&identity, &client, &credentials, QUERY_TIMEOUT),
    );
    let others = others.0;
    Ok(MemberReports { own, others })
}

/// Prepares the cluster for another minor version of etcd on this node. Returns a decision if the
/// node must not continue.
pub(super) async fn prepare_cluster(
    state: &mut UpdateState,
    own: &ThisNode,
) -> Result<Option<TurnDecision>> {
    let (target, in_use) = (target(state, own)?, own.image.etcd);
    if target.minor >= in_use.minor {
        if in_use.minor < 7 && target.minor >= 7 {
            renew_raft_snapshot(state, own).await?;
        }
        return Ok(None);
    }
    let members = members(own).await?;
    if members.own.is_none() {
        // For a rollback, read the storage version from the data if etcd on this node does not
        // answer.
        let silent = || ReasonId::UpdateDowngrade.because("etcd on this node does not answer");
        let why = match &state.order.release {
            Some(_) => Some(silent()),
            None => data_obstacle(target),
        };
        if let Some(why) = why {
            return Ok(Some(TurnDecision::Wait(why)));
        }
    }
    let obstacle = make_ready(state, target, &members).await?;
    Ok(obstacle.map(|obstacle| match obstacle {
        Obstacle::Wait(why) => TurnDecision::Wait(why),
        Obstacle::Refuse(why) => TurnDecision::Refuse(why),
    }))
}

/// Ends a downgrade that an interrupted run of this order enabled only to force a raft snapshot.
pub(super) async fn end_interrupted_downgrade(
    state: &mut UpdateState,
    own: &ThisNode,
) -> Result<()> {
    if state.downgrade.is_some() && target(state, own)?.minor >= own.image.etcd.minor {
        end_downgrade(state, own).await?;
    }
    Ok(())
}

/// If this member's WAL contains requests of etcd 3.5 that etcd 3.7 cannot read, makes every member
/// of the 3.6 cluster take a raft snapshot. etcd forces a snapshot when it lowers the cluster
/// version (server/etcdserver/apply/apply.go, ClusterVersionSet). The cluster version then rises
/// again.
async fn renew_raft_snapshot(state: &mut UpdateState, own: &ThisNode) -> Result<()> {
    let reads_v2 = || data::reads_v2_requests(Path::new(paths::DATA));
    if !reads_v2()? {
        return Ok(());
    }
    say(
        "etcd's raft log contains entries that etcd 3.5 wrote and etcd 3.7 cannot read. Lowering the \
         version of the cluster to 3.5 and raising it again, so that every member takes a raft snapshot",
    );
    state.downgrade = Some(SNAPSHOT_MINOR);
    state.write()?;
    let client = Client::connect(paths::OWN_CLIENT_URL, &installed_credentials()?).await?;
    client.enable_downgrade(SNAPSHOT_MINOR).await?;
    wait_agreed(own, SNAPSHOT_MINOR).await?;
    end_downgrade(state, own).await?;
    wait_agreed(own, 6).await?;
    if reads_v2()? {
        return Err(not_ready(ReasonId::UpdateDowngrade.because(
            "etcd's raft log still contains entries that etcd 3.5 wrote and etcd 3.7 cannot read: etcd has not \
             taken a raft snapshot",
        )));
    }
    Ok(())
}

/// Waits until this node's member, and all other members that answer, report this minor version as
/// the cluster version.
async fn wait_agreed(own: &ThisNode, minor: u64) -> Result<()> {
    let end = Instant::now() + AGREED_TIMEOUT;
    loop {
        let seen = members(own).await?;
        let mut all = seen.own.iter().chain(&seen.others);
        if seen.own.is_some() && all.all(|peer| peer.cluster_minor == Some(minor)) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(not_ready(ReasonId::UpdateDowngrade.because(format!(
                "the version of the cluster is not 3.{minor} after {} s",
                AGREED_TIMEOUT.as_secs()
            ))));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Cancels the downgrade that this order enabled, and records the cancellation.
async fn end_downgrade(state: &mut UpdateState, own: &ThisNode) -> Result<()> {
    cancel_downgrade(state, own).await?;
    state.downgrade = None;
    state.write()
}

/// Cancels the downgrade that this order enabled. A downgrade to another minor version does not
/// belong to this order, so the function does not cancel it. firstboot enables a downgrade only on
/// the node that has the turn. Therefore, this node cancels the downgrade only while it has the
/// turn. If an operator has released the turn, the node takes it again first.
///
/// etcd cannot check the turn in the same request in which it cancels the downgrade. Between the
/// check and the request, an operator may release the turn, and another node may enable a downgrade
/// to the same minor version. In this case, the request cancels the other node's downgrade. The
/// other node then enables the downgrade again, or waits with its update. If an operator enabled a
/// downgrade to the same minor version, the request also cancels this downgrade.
///
/// # Errors
/// Returns a "not ready" error if another node has the turn.
pub(super) async fn cancel_downgrade(state: &UpdateState, own: &ThisNode) -> Result<()> {
    let Some(minor) = state.downgrade else {
        return Ok(());
    };
    let seen = members(own).await?;
    if seen.own.is_none() && seen.others.is_empty() {
        bail!("no member answers");
    }
    let Some(peer) = reports_downgrade(minor, &seen) else {
        return Ok(());
    };
    let client = Client::connect(&peer.url, &installed_credentials()?).await?;
    keep_turn(state, own).await?;
    client.cancel_downgrade().await?;
    // Check the result, because etcd 3.6 reports success even if the cancellation failed.
    let downgrade = client.status().await?.downgrade_info;
    if downgrade.is_some_and(|downgrade| downgrade.enabled) {
        bail!("the downgrade of the cluster is still in force");
    }
    Ok(())
}
