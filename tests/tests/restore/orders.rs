//! Helpers for tests that restore clusters, and for orders to all members at the same time.

use std::fs;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use tests::cluster::{boot_all, etcdctl};
use tests::host::Host;
use tests::process::Output;

use crate::bed::Bed;

pub(crate) const SNAPSHOT: &str = "/root/snapshot.db";

/// Makes three running, healthy members with this etcd.
pub(crate) fn cluster(version: &str) -> Result<Bed> {
    let mut bed = Bed::with_etcd(version, 3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    Ok(bed)
}

/// Takes a snapshot on one host, and copies it to all hosts.
pub(crate) fn snapshot(bed: &Bed, of: usize) -> Result<()> {
    etcdctl(&bed.hosts[of], &format!("snapshot save {SNAPSHOT}"))?;
    distribute_snapshot(bed, of)
}

/// Copies one host's snapshot to all hosts.
pub(crate) fn distribute_snapshot(bed: &Bed, of: usize) -> Result<()> {
    let bytes = fs::read(bed.hosts[of].path(SNAPSHOT))?;
    bed.hosts
        .iter()
        .try_for_each(|host| host.write(SNAPSHOT, &bytes, 0o600))
}

/// Runs `firstboot restore` on these hosts at the same time, and returns the result of each run.
pub(crate) fn restore(orders: &[(&Host, &[&str])]) -> Result<Vec<Output>> {
    thread::scope(|scope| {
        let run = |(host, arguments): (&Host, &[&str])| {
            host.run(&[&["firstboot", "restore"], arguments].concat())
        };
        let running: Vec<_> = orders
            .iter()
            .map(|order| scope.spawn(move || run(*order)))
            .collect();
        running
            .into_iter()
            .map(|one| one.join().map_err(|_| anyhow!("a command panicked"))?)
            .collect()
    })
}

/// Sends the order to all hosts, and checks that each host carries out the order.
pub(crate) fn all_restore(orders: &[(&Host, &[&str])]) -> Result<Vec<Output>> {
    let came = restore(orders)?;
    for (ran, (host, arguments)) in came.iter().zip(orders) {
        ensure!(
            ran.success(),
            "firstboot restore {arguments:?} on {}: {ran:?}",
            host.name()
        );
    }
    Ok(came)
}

/// `/etcd-image/image/` in base64. A node can record the result of an image check under this prefix
/// at any time.
const IMAGE_CHECKS: &str = "L2V0Y2QtaW1hZ2UvaW1hZ2Uv";

/// Returns every key of this host's own member with its value, lease and revisions, except the
/// image checks.
pub(crate) fn content(host: &Host) -> Result<Value> {
    let json = etcdctl(host, "get '' --from-key --consistency=s --write-out=json")?;
    let answer: Value = serde_json::from_str(&json)?;
    let keys = answer["kvs"].as_array().cloned().unwrap_or_default();
    let is_check = |key: &Value| {
        let name = key["key"].as_str();
        name.is_some_and(|name| name.starts_with(IMAGE_CHECKS))
    };
    Ok(keys
        .into_iter()
        .filter(|key| !is_check(key))
        .collect::<Vec<_>>()
        .into())
}

pub(crate) fn revision(host: &Host) -> Result<i64> {
    let json = etcdctl(host, "endpoint status --write-out=json")?;
    let answer: serde_json::Value = serde_json::from_str(&json)?;
    answer[0]["Status"]["header"]["revision"]
        .as_i64()
        .context("the status has no revision")
}

/// Returns the reason for the halt of updates.
pub(crate) fn halt_reason(host: &Host) -> Result<String> {
    let key = "get /etcd-image/update/halt --print-value-only";
    let halt: Value = serde_json::from_str(&etcdctl(host, key)?)?;
    Ok(halt["why"].as_str().unwrap_or_default().to_owned())
}

/// Returns the remaining seconds of a lease that was granted for a day.
pub(crate) fn remaining_ttl(host: &Host, lease: &str) -> Result<u64> {
    let json: Value = serde_json::from_str(&etcdctl(
        host,
        &format!("lease timetolive {lease} --write-out=json"),
    )?)?;
    json["ttl"].as_u64().with_context(|| json.to_string())
}
