//! A cluster whose recipe has a `[backup]` section.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::cluster::{Provisioning, boot_all, etcdctl, wait_healthy};
use tests::etcd;
use tests::host::Host;
use tests::programs::demo;
use tests::requirement::{NEEDS_CLUSTER, Requirement};

pub(crate) const REQUIREMENTS: &[Requirement] = NEEDS_CLUSTER;
pub(crate) const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(180);

/// Hosts that are installed, have their node documents and are switched off.
pub(crate) struct Bed {
    // The hosts must be dropped before their network.
    pub(crate) hosts: Vec<Host>,
    pub(crate) provisioning: Provisioning,
}

impl Bed {
    /// Creates `count` of the demo's nodes, with the lines in `backup` as their `[backup]` section.
    pub(crate) fn new(count: usize, backup: &str) -> Result<Self> {
        etcd::release("3.5.1")?;
        let provisioning = Provisioning::without_firewall()?;
        provisioning.build(&demo(count, "", &format!("[backup]\n{backup}"))?)?;
        let hosts = (1..=count).map(|number| provisioning.node(&format!("etcd-{number}")));
        Ok(Self {
            hosts: hosts.collect::<Result<_>>()?,
            provisioning,
        })
    }

    /// Boots the hosts and waits until they are healthy.
    pub(crate) fn boot(&mut self) -> Result<()> {
        boot_all(&mut self.hosts)?;
        for host in &self.hosts {
            wait_healthy(host, self.hosts.len(), CONVERGENCE_TIMEOUT)?;
        }
        Ok(())
    }
}

/// Returns a daily schedule whose latest run was more than half a day ago, and whose next run is
/// hours away.
pub(crate) fn far() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    format!("schedule = \"{:02}:00\"", (now / 3600 + 6) % 24)
}

/// Writes this many values of 1.3 MB each, so that a snapshot takes measurable time.
pub(crate) fn fill(host: &Host, mib: u32) -> Result<()> {
    host.sh("head -c 1000000 /dev/urandom | base64 -w 0 > /root/value")?
        .ok()?;
    for number in 0..mib {
        etcdctl(host, &format!("put fill/{number} < /root/value"))?;
    }
    Ok(())
}

/// Returns the output of `firstboot snapshot list --json` on a host.
pub(crate) fn list(host: &Host, place: &str) -> Result<Vec<Value>> {
    let said = host.check(&["firstboot", "snapshot", "list", "--json", place])?;
    serde_json::from_str(&said).with_context(|| said)
}

/// Returns the names of the files and folders in a folder on a host.
pub(crate) fn names(host: &Host, folder: &str) -> Result<Vec<String>> {
    Ok(host
        .check(&["ls", "-A", folder])?
        .lines()
        .map(str::to_owned)
        .collect())
}

/// Checks that firstboot and etcdutl accept a snapshot, and that the manifest matches the snapshot.
/// Returns the manifest.
pub(crate) fn check_snapshot(host: &Host, path: &str) -> Result<Value> {
    host.check(&["firstboot", "snapshot", "verify", path])?;
    let theirs = host.check(&["etcdutl", "snapshot", "status", path, "-w", "json"])?;
    let theirs: Value = serde_json::from_str(&theirs).with_context(|| theirs)?;
    let own: Value = serde_json::from_str(&host.read(&format!("{path}.json"))?)?;
    ensure!(
        own["snapshot"]["revision"] == theirs["revision"],
        "{own} / {theirs}"
    );
    ensure!(
        own["snapshot"]["keys"] == theirs["totalKey"],
        "{own} / {theirs}"
    );
    let sum = host.check(&["sha256sum", path])?;
    ensure!(
        own["sha256"].as_str() == sum.split(' ').next(),
        "{own} / {sum}"
    );
    let mode = host.check(&["stat", "-c", "%a %U", path, &format!("{path}.json")])?;
    ensure!(mode == "600 root\n600 root\n", "{mode}");
    Ok(own)
}
