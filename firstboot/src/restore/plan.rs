//! The plan of a restore, for the operator.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use recipes::{ClusterDocument, Label};
use tokio::task::JoinSet;

use super::build::{self, MARGIN};
use crate::domain::{BootstrapMode, short};
use crate::etcd::{Client, Credentials};
use crate::identity::Identity;
use crate::journal::{NodeState, SnapshotFile};
use crate::output::{say, show};

/// The mode for a restore of this snapshot, with the newest revision that any member knows.
pub(super) fn mode(
    keep_revision: bool,
    identity: &Identity,
    state: &NodeState,
    source: &SnapshotFile,
) -> Result<BootstrapMode> {
    let version = identity.cluster.etcd.version;
    let raise = !keep_revision && build::can_raise(version);
    if !raise && !keep_revision {
        say(format!(
            "etcd {version} cannot raise the revision at a restore (3.4.27, 3.5.10 and later can), so the watch of a \
             client that has seen a later revision than {} reports no error. Restart such clients",
            source.revision
        ));
    }
    let seen = if raise {
        Some(
            newest(&identity.cluster)?
                .max(source.revision)
                .max(state.revision),
        )
    } else {
        None
    };
    Ok(BootstrapMode::Restore {
        snapshot: source.sha256,
        seen,
    })
}

/// The newest revision that any member reports. A member reports it without a quorum as well.
fn newest(cluster: &ClusterDocument) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let Ok(credentials) = Credentials::installed() else {
        return Ok(0);
    };
    Ok(runtime.block_on(async {
        let mut asked = JoinSet::new();
        for member in &cluster.members {
            let (url, credentials) = (member.client_url(), credentials.clone());
            asked.spawn(async move {
                let status = async { Client::connect(&url, &credentials).await?.status().await };
                let status = tokio::time::timeout(Duration::from_secs(2), status).await;
                let header = status
                    .ok()
                    .and_then(Result::ok)
                    .and_then(|status| status.header)
                    .unwrap_or_default();
                u64::try_from(header.revision).unwrap_or_default()
            });
        }
        asked.join_all().await.into_iter().max().unwrap_or_default()
    }))
}

/// Prints the plan.
pub(super) fn print_plan(
    identity: &Identity,
    state: &NodeState,
    mode: BootstrapMode,
    source: Option<&SnapshotFile>,
    without: &BTreeSet<Label>,
) -> Result<()> {
    let cluster = &identity.cluster;
    let mut lines = vec![format!(
        "{} of cluster {} will {mode}",
        identity.node.name, cluster.name
    )];
    if let Some(source) = source {
        build::check_room(
            std::fs::metadata(&source.path)
                .context("the snapshot is gone")?
                .len(),
        )?;
        lines.push(format!("  snapshot   {}", source.path.display()));
        lines.push(format!("  sha256     {}", source.sha256));
        let revision = match mode {
            BootstrapMode::Restore {
                seen: Some(seen), ..
            } => format!(
                "{}, will be raised above {} (the newest observed is {seen}); older watches fail as compacted",
                source.revision,
                seen + MARGIN - 1
            ),
            _ => format!("{}, with which the cluster continues", source.revision),
        };
        lines.push(format!("  revision   {revision}"));
    }
    let now = state
        .cluster
        .map_or_else(|| "unknown".to_owned(), |id| format!("{id:x}"));
    let then = match (mode, state.archived.as_ref()) {
        (BootstrapMode::Rollback { cluster }, Some(aside)) => {
            let member = aside
                .member
                .map(|id| format!(" as its member {id:x}"))
                .unwrap_or_default();
            format!("{cluster:x} again{member}, from {}", aside.path.display())
        }
        // If the ids were known before, two restores of one file would make one cluster with two
        // histories.
        (BootstrapMode::Restore { snapshot, .. }, _) => format!(
            "a new one, token {}-r-{}-…; the members draw the rest of the token when all have the order. firstboot \
             prints the ids, which follow from the token, before it replaces any data",
            cluster.name,
            &short(&snapshot)[..8]
        ),
        _ => "new".to_owned(),
    };
    lines.push(format!("  cluster    {now} now; then {then}"));
    let names = |mut names: Vec<&str>| {
        names.sort_unstable();
        if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(", ")
        }
    };
    let all = cluster.members.iter().map(|member| &member.name);
    let with: Vec<&str> = all
        .filter(|name| !without.contains(*name))
        .map(Label::as_str)
        .collect();
    lines.push(format!("  members    {}", names(with)));
    lines.push(format!(
        "  without    {}",
        names(without.iter().map(Label::as_str).collect())
    ));
    Ok(show(&(lines.join("\n") + "\n"))?)
}
