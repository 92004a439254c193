//! Builds etcd's new data from the snapshot, next to the current data. The program that builds the
//! data is etcdutl (etcdctl in etcd 3.4) of the etcd version that will run. The new data receives
//! its final name only after all of it is durable.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use recipes::cluster::Member;
use recipes::{ClusterDocument, EtcdVersion};

use crate::barrier::Proposal;
use crate::domain::{BootstrapMode, InitialCluster, member_id, short};
use crate::files::{self, DesiredDir, Dir, ETCD, Kind, ROOT};
use crate::journal::SnapshotFile;
use crate::output::say;
use crate::paths;
use crate::steps::selinux;

/// The number by which the restored revision exceeds every observed revision, as etcd's disaster
/// recovery guide recommends. Clients may have seen revisions that no member reported to firstboot.
/// The restored revision also exceeds those revisions if there are fewer of them than this number.
pub(super) const MARGIN: u64 = 1_000_000_000;

/// The number of bytes that must be free in addition to the size of the database: two segments of
/// the WAL, which etcdutl writes, and a reserve. A manual restore, during which etcd is stopped,
/// needs 61 MiB less. firstboot checks the free space while etcd runs, and a running etcd keeps a
/// preallocated WAL segment.
const ROOM: u64 = 160 << 20;

/// The inputs of a build, except the proposal.
#[derive(Debug, Clone)]
pub(super) struct DataDirBuilder {
    pub(super) cluster: ClusterDocument,
    pub(super) own: Member,
    pub(super) source: SnapshotFile,
}

/// Returns whether a restore with this version can raise the revision (`--bump-revision`, in
/// upstream's changelogs of 3.4.27 and 3.5.10).
pub(super) fn can_raise(version: EtcdVersion) -> bool {
    match version.minor {
        4 => version.patch >= 27,
        5 => version.patch >= 10,
        _ => true,
    }
}

/// Returns the revision from which a restored cluster continues.
pub(super) fn revision(mode: BootstrapMode, source: &SnapshotFile) -> u64 {
    match mode {
        BootstrapMode::Restore {
            seen: Some(seen), ..
        } => seen.max(source.revision) + MARGIN,
        _ => source.revision,
    }
}

/// Returns the folder in which the data for the cluster with this token is built.
pub(super) fn folder(token: &str) -> PathBuf {
    Path::new(paths::RESTORE).join(token)
}

/// Checks that the disk has room for the data that is built from a snapshot of this size.
pub(super) fn check_room(size: u64) -> Result<()> {
    let free = files::free_space(Path::new(paths::VOLUME))?;
    let needed = size + ROOM;
    ensure!(
        free >= needed,
        "{} has {} MiB free, but the restored data needs {} MiB in addition to the old data, which is kept. `firstboot \
         restore --list` shows the data that older restores archived",
        paths::VOLUME,
        free >> 20,
        needed >> 20
    );
    Ok(())
}

impl DataDirBuilder {
    /// Builds the data for a proposal, unless it has already been built.
    pub(super) fn build(&self, proposal: &Proposal) -> Result<()> {
        let folder = folder(&proposal.token);
        if files::exists(&folder)? {
            return Ok(());
        }
        self.same_file()?;
        remove_unused_builds()?;
        DesiredDir::new(paths::RESTORE, 0o700, ROOT).make()?;
        let part = Path::new(paths::RESTORE).join("part");
        let mut command = self.command(proposal, &part);
        let words = format!(
            "{} snapshot restore {}",
            self.program(),
            self.source.path.display()
        );
        say(self.ids(proposal));
        say(&words);
        let output = command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run `{words}`"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last: Vec<&str> = said.trim().lines().rev().take(3).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            remove_unused_builds()?;
            bail!("`{words}` failed ({}): {}", output.status, last.join(" | "));
        }
        selinux::below(&part)
            .iter()
            .try_for_each(crate::change::Change::apply)?;
        files::chown_and_sync(&part, ETCD)?;
        files::rename(&part, &folder)
    }

    /// Formats the ids of the cluster and of its members. The ids follow from the proposal.
    fn ids(&self, proposal: &Proposal) -> String {
        let id = |name| {
            self.cluster
                .member(name)
                .map(|member| member_id(&member.peer_url(), &proposal.token))
        };
        let members = proposal
            .nonces
            .keys()
            .map(|name| format!("{name} {:x}", id(name).unwrap_or_default()));
        format!(
            "the new cluster has the id {:x}, the token {} and the members {}",
            proposal.cluster_id,
            proposal.token,
            members.collect::<Vec<_>>().join(", ")
        )
    }

    /// Checks that the snapshot still has the content that firstboot verified.
    fn same_file(&self) -> Result<()> {
        let SnapshotFile {
            path,
            sha256,
            fingerprint,
            ..
        } = &self.source;
        if files::fingerprint(path)? == *fingerprint {
            return Ok(());
        }
        let now = files::digest(path)?;
        ensure!(
            now == *sha256,
            "{} was replaced after it was verified: its digest was {} and is now {}",
            path.display(),
            short(sha256),
            short(&now)
        );
        Ok(())
    }

    /// Returns the path of the program that builds the data.
    fn program(&self) -> &'static str {
        if self.cluster.etcd.version.has_etcdutl() {
            paths::ETCDUTL
        } else {
            paths::ETCDCTL
        }
    }

    fn command(&self, proposal: &Proposal, to: &Path) -> Command {
        let Self {
            cluster,
            own,
            source,
        } = self;
        let start = InitialCluster::new_cluster(cluster, &proposal.token, proposal.nonces.keys());
        let members: Vec<String> = start
            .members
            .iter()
            .map(|(name, url)| format!("{name}={url}"))
            .collect();
        // If the terminal is closed, firstboot.service continues the restore, so SIGHUP must not
        // end the program.
        let mut command = Command::new("/usr/bin/nohup");
        command.arg(self.program());
        // Enable the self-checks of etcd's programs (server/verify, in 3.5 and later).
        command.env("ETCDCTL_API", "3").env("ETCD_VERIFY", "all");
        command
            .args(["snapshot", "restore"])
            .arg(&source.path)
            .arg("--data-dir")
            .arg(to);
        command.args([
            "--name",
            own.name.as_str(),
            "--initial-advertise-peer-urls",
            &own.peer_url(),
        ]);
        command.args([
            "--initial-cluster",
            &members.join(","),
            "--initial-cluster-token",
            &proposal.token,
        ]);
        if matches!(proposal.mode, BootstrapMode::Restore { seen: Some(_), .. }) {
            let bump = revision(proposal.mode, source) - source.revision;
            command.args(["--bump-revision", &bump.to_string(), "--mark-compacted"]);
        }
        if !source.digest {
            command.arg("--skip-hash-check");
        }
        command
    }
}

/// Deletes data that was built but never used. Keeps a downloaded snapshot.
fn remove_unused_builds() -> Result<()> {
    let folder = Path::new(paths::RESTORE);
    if !files::exists(folder)? {
        return Ok(());
    }
    let remove = || -> std::io::Result<()> {
        let dir = Dir::open(folder)?;
        for name in dir.names()? {
            if dir
                .look(&name)?
                .is_some_and(|there| there.kind == Kind::Directory)
            {
                dir.remove_all(&name)?;
            }
        }
        Ok(())
    };
    remove().with_context(|| format!("cannot clear {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use recipes::Sha256;

    use super::*;

    #[test]
    fn only_newer_patch_versions_can_raise_the_revision() {
        let can = |version: &str| can_raise(version.parse().unwrap());
        for version in ["3.4.27", "3.4.45", "3.5.10", "3.5.33", "3.6.0", "3.7.1"] {
            assert!(can(version), "{version}");
        }
        for version in ["3.4.23", "3.5.1", "3.5.9"] {
            assert!(!can(version), "{version}");
        }
    }

    #[test]
    fn the_restored_revision_is_above_every_observed_revision() {
        let source = SnapshotFile {
            path: "/s".into(),
            sha256: Sha256::of(b"s"),
            revision: 50,
            digest: true,
            fingerprint: files::fingerprint(Path::new("/etc/passwd")).unwrap(),
        };
        let restore = |seen| BootstrapMode::Restore {
            snapshot: source.sha256,
            seen,
        };
        assert_eq!(revision(restore(Some(70)), &source), 70 + MARGIN);
        assert_eq!(revision(restore(Some(0)), &source), 50 + MARGIN);
        assert_eq!(revision(restore(None), &source), 50);
    }
}
