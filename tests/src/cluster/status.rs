//! The state of the members as `firstboot status` reports it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::host::Host;

/// The pause between two calls of `firstboot status`. Each call opens several TLS connections to
/// every member, so frequent calls would slow down the other tests.
const STATUS_INTERVAL: Duration = Duration::from_millis(600);

/// A member in the output of `firstboot status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MemberStatus {
    /// The member's name.
    pub name: String,
    /// Whether the member answers and has no errors.
    pub healthy: bool,
    /// Whether the member is the leader.
    pub leader: bool,
    /// Whether the member is a learner.
    pub learner: bool,
    /// The version of etcd that the member runs.
    pub version: String,
    /// The member's newest revision.
    pub revision: i64,
    /// The member's errors.
    pub errors: Vec<MemberError>,
}

/// An error of a member in the output of `firstboot status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MemberError {
    /// The error's id, if it has one.
    pub id: Option<String>,
    /// The message.
    pub text: String,
}

/// The output of `firstboot status --json`.
#[derive(Debug, Deserialize)]
struct Answer {
    members: Vec<MemberStatus>,
}

/// Returns the cluster's members as `firstboot status` on a host shows them.
pub fn status(host: &Host) -> Result<Vec<MemberStatus>> {
    let ran = host.run(&["firstboot", "status", "--json"])?;
    let answer: Answer = serde_json::from_str(&ran.stdout)
        .with_context(|| format!("firstboot status on {} printed {ran:?}", host.name()))?;
    Ok(answer.members)
}

/// Waits until `firstboot status` on a host shows exactly this many members, all of them healthy
/// voters.
pub fn wait_healthy(host: &Host, members: usize, timeout: Duration) -> Result<Vec<MemberStatus>> {
    let end = Instant::now() + timeout;
    loop {
        let seen = status(host);
        if let Ok(seen) = &seen
            && seen.len() == members
            && seen.iter().all(|member| member.healthy && !member.learner)
        {
            return Ok(seen.clone());
        }
        if Instant::now() >= end {
            let journal = host.journal("firstboot").unwrap_or_default();
            let etcd = host.journal("etcd").unwrap_or_default();
            bail!(
                "{} does not report {members} healthy members after {timeout:?}, but {seen:?}\nfirstboot:\n{}\netcd:\n{}",
                host.name(),
                crate::harness::tail(&journal, 30),
                crate::harness::tail(&etcd, 15)
            );
        }
        sleep(STATUS_INTERVAL);
    }
}

/// Waits until the cluster version has the same minor version as this version of etcd. If etcd
/// reports a storage version, the storage version must have the same minor version too.
pub fn wait_minor(host: &Host, version: &str, timeout: Duration) -> Result<()> {
    let minor = version.rsplit_once('.').context("not a version")?.0;
    let agreed = format!(
        ". /etc/profile.d/etcdctl.sh && curl -s --cacert $ETCDCTL_CACERT --cert $ETCDCTL_CERT --key $ETCDCTL_KEY \
         https://127.0.0.1:2379/version | grep -F '\"etcdcluster\":\"{minor}.'"
    );
    host.wait_for(&agreed, timeout)?;
    let wrong = format!(
        ". /etc/profile.d/etcdctl.sh && ! etcdctl endpoint status -w json | grep storageVersion | \
         grep -vF '\"storageVersion\":\"{minor}.'"
    );
    host.wait_for(&wrong, timeout)
}

/// Checks that no downgrade is enabled, because new members cannot join during a downgrade. A
/// member may be down.
pub fn no_downgrade(host: &Host) -> Result<()> {
    let ask = ". /etc/profile.d/etcdctl.sh && etcdctl endpoint status -w json --cluster";
    let seen = host.sh(ask)?.stdout;
    ensure!(
        seen.contains("\"Status\"") && !seen.contains("targetVersion"),
        "a downgrade is enabled, or no member answers: {seen}"
    );
    Ok(())
}
