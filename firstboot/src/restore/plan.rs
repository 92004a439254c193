//! Plans a restore and shows the plan to the operator.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use recipes::cluster::Member;
use recipes::{ClusterDocument, Label};
use serde::Serialize;

use super::answers;
use super::build::{self, MARGIN};
use super::update_records::{UpdateRecords, describe};
use super::update_turn;
use crate::domain::{BootstrapMode, short};
use crate::identity::Identity;
use crate::journal::{NodeState, SnapshotFile};
use crate::output::say;

/// Returns the mode for a restore of this snapshot. If the restore raises the revision, the mode
/// contains the newest revision that is known.
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
            "etcd {version} cannot raise the revision in a restore (3.4.27, 3.5.10 and later can), \
             so clients that have seen a revision later than {} miss changes without an error. Restart \
             these clients",
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

/// Returns the newest revision that any member reports, or 0 if no member answers. A member reports
/// its revision even without a quorum.
fn newest(cluster: &ClusterDocument) -> Result<u64> {
    let urls = cluster.members.iter().map(Member::client_url);
    let revisions = answers::of_members(urls, |client| async move {
        let header = client.status().await?.header.unwrap_or_default();
        Ok(u64::try_from(header.revision).unwrap_or_default())
    })?;
    Ok(revisions.into_iter().max().unwrap_or_default())
}

/// The plan of a restore.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RestorePlan {
    node: Label,
    cluster: Label,
    action: String,
    snapshot: Option<PlannedSnapshot>,
    /// The id of the current cluster, in hexadecimal digits.
    cluster_id: Option<String>,
    /// A description of the cluster after the restore.
    then: String,
    members: Vec<Label>,
    /// The members that do not take part.
    without: Vec<Label>,
    updates: PlannedUpdates,
}

/// The state of updates before and after the restore. The members share this state in etcd.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PlannedUpdates {
    /// The current state, or `None` if no member answered or the state cannot be read.
    now: Option<UpdateRecords>,
    /// A description of the state after the restore.
    then: &'static str,
}

/// The snapshot that is restored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PlannedSnapshot {
    path: PathBuf,
    sha256: String,
    revision: u64,
    /// The revision above which the new cluster continues, or `None` if it continues with the
    /// snapshot's revision.
    raised_above: Option<u64>,
    /// The newest revision that is known from the members, the snapshot or an earlier restore, or
    /// `None` if the revision is not raised.
    newest_observed: Option<u64>,
}

impl PlannedSnapshot {
    fn of(source: &SnapshotFile, mode: BootstrapMode) -> Self {
        let seen = match mode {
            BootstrapMode::Restore { seen, .. } => seen,
            _ => None,
        };
        Self {
            path: source.path.clone(),
            sha256: source.sha256.to_string(),
            revision: source.revision,
            raised_above: seen.map(|seen| seen + MARGIN - 1),
            newest_observed: seen,
        }
    }
}

/// Plans the restore. Fails if the disk does not have room for the restored data.
pub(super) fn plan(
    identity: &Identity,
    state: &NodeState,
    mode: BootstrapMode,
    source: Option<&SnapshotFile>,
    without: &BTreeSet<Label>,
) -> Result<RestorePlan> {
    if let Some(source) = source {
        let size = std::fs::metadata(&source.path).context("the snapshot no longer exists")?;
        build::check_room(size.len())?;
    }
    let cluster = &identity.cluster;
    let mut members: Vec<Label> = cluster
        .members
        .iter()
        .map(|member| member.name.clone())
        .filter(|name| !without.contains(name))
        .collect();
    members.sort_unstable();
    Ok(RestorePlan {
        node: identity.node.name.clone(),
        cluster: cluster.name.clone(),
        action: mode.to_string(),
        snapshot: source.map(|source| PlannedSnapshot::of(source, mode)),
        cluster_id: state.cluster_id.map(|id| format!("{id:x}")),
        then: describe_result(&cluster.name, state, mode),
        members,
        without: without.iter().cloned().collect(),
        updates: PlannedUpdates {
            now: UpdateRecords::of_cluster(cluster),
            then: match mode {
                BootstrapMode::Rollback { .. } => {
                    "the same, plus the halt and the records in the archived data"
                }
                _ => "the same, plus the halt and the records in the snapshot",
            },
        },
    })
}

impl RestorePlan {
    /// Returns the halt and the failed releases before the restore, if a member answered.
    pub(super) fn update_records(&self) -> Option<&UpdateRecords> {
        self.updates.now.as_ref()
    }
}

/// Describes the cluster after the restore.
fn describe_result(cluster: &Label, state: &NodeState, mode: BootstrapMode) -> String {
    match (mode, state.archived.as_ref()) {
        (BootstrapMode::Rollback { cluster }, Some(archived)) => {
            let member = archived
                .member_id
                .map(|id| format!(" as its member {id:x}"))
                .unwrap_or_default();
            format!(
                "{cluster:x} again{member}, from {}",
                archived.path.display()
            )
        }
        // The ids depend on random nonces, so they are not known in advance. Without the nonces,
        // two restores of the same file would create two clusters with the same id.
        (BootstrapMode::Restore { snapshot, .. }, _) => format!(
            "a new cluster with the token {cluster}-r-{}-…; the members agree on the rest of the \
             token when all members have the order. firstboot prints the ids, which follow from the \
             token, before it replaces any data",
            &short(&snapshot)[..8]
        ),
        _ => "new".to_owned(),
    }
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of cluster {} will {}",
            self.node, self.cluster, self.action
        )?;
        if let Some(snapshot) = &self.snapshot {
            writeln!(f, "  snapshot   {}", snapshot.path.display())?;
            writeln!(f, "  sha256     {}", snapshot.sha256)?;
            write!(f, "  revision   {}, ", snapshot.revision)?;
            match (snapshot.raised_above, snapshot.newest_observed) {
                (Some(above), Some(seen)) => writeln!(
                    f,
                    "will be raised above {above} (the newest observed revision is {seen}); watches \
                     from older revisions fail"
                )?,
                _ => writeln!(f, "with which the cluster continues")?,
            }
        }
        let now = self.cluster_id.as_deref().unwrap_or("unknown");
        writeln!(f, "  cluster    {now} now; then {}", self.then)?;
        writeln!(f, "  members    {}", names(&self.members))?;
        writeln!(f, "  without    {}", names(&self.without))?;
        let PlannedUpdates { now, then } = &self.updates;
        writeln!(
            f,
            "  updates    {} now; then {then}",
            describe(now.as_ref())
        )?;
        if let Some(turn) = now.as_ref().and_then(|now| now.turn.as_ref())
            && update_turn::prevents(turn, &self.node, &self.members)
        {
            writeln!(f, "  warning    {}", update_turn::obstacle(turn).text)?;
        }
        Ok(())
    }
}

fn names(names: &[Label]) -> String {
    let names: Vec<&str> = names.iter().map(Label::as_str).collect();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_plan() {
        let name = |name: &str| name.parse::<Label>().unwrap();
        let plan = RestorePlan {
            node: name("etcd-1"),
            cluster: name("demo"),
            action: String::new(),
            snapshot: Some(PlannedSnapshot {
                path: "/root/etcd.db".into(),
                sha256: String::new(),
                revision: 7,
                raised_above: None,
                newest_observed: None,
            }),
            cluster_id: None,
            then: String::new(),
            members: vec![name("etcd-1")],
            without: Vec::new(),
            updates: PlannedUpdates {
                now: None,
                then: "",
            },
        };
        assert_eq!(documented("json.md", "firstboot restore"), keys(&plan));
        let snapshot = plan.snapshot.unwrap();
        assert_eq!(
            documented("json.md", "The restored snapshot"),
            keys(&snapshot)
        );
    }
}
