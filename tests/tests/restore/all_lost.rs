//! Tests clusters in which all members have lost their data. The nodes must not replace their
//! cluster with an empty one, because clients would not notice the loss. A snapshot brings the data
//! back.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::{etcd, programs};

use crate::bed::{CONVERGENCE_TIMEOUT, REQUIREMENTS, has_no_etcd, wait_refused, wait_said};
use crate::orders::{SNAPSHOT, all_restore, cluster, snapshot};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "an_only_member_without_data_waits_for_a_snapshot",
            REQUIREMENTS,
            only_member,
        ),
        trial(
            "three_members_without_data_bootstrap_no_empty_cluster",
            REQUIREMENTS,
            three,
        ),
        trial(
            "a_node_that_has_no_id_yet_restores_a_snapshot",
            REQUIREMENTS,
            new_node,
        ),
    ]
}

/// Deletes etcd's data, as an operator does by mistake, and restarts etcd.
fn lose_data(host: &Host) -> Result<()> {
    let script = "systemctl stop etcd && rm -rf /var/lib/etcd/data && \
                  systemctl --no-block restart firstboot etcd";
    host.sh(script)?.ok().map(drop)
}

fn has_answer(host: &Host) -> Result<()> {
    let value = etcdctl(host, "get answer --print-value-only")?;
    ensure!(value.trim() == "42", "{}: {value}", host.name());
    Ok(())
}

/// Starts a cluster with one member, and takes a snapshot with a key.
fn one_member() -> Result<(Provisioning, Host)> {
    etcd::release(etcd::DEMO)?;
    let provisioning = Provisioning::without_firewall()?;
    provisioning.build(&programs::demo(1, "", "")?)?;
    let mut host = provisioning.node("etcd-1")?;
    host.boot()?;
    wait_healthy(&host, 1, CONVERGENCE_TIMEOUT)?;
    etcdctl(&host, "put answer 42")?;
    etcdctl(&host, &format!("snapshot save {SNAPSHOT}"))?;
    Ok((provisioning, host))
}

fn only_member() -> Result<()> {
    let (_provisioning, mut host) = one_member()?;

    lose_data(&host)?;
    let words = ["only member of its cluster", "[data-emptied]"];
    wait_refused(&host, &words)?;
    host.shutdown()?;
    host.boot()?;
    wait_refused(&host, &words)?;
    has_no_etcd(&host)?;

    host.check(&["firstboot", "restore", SNAPSHOT])?;
    wait_healthy(&host, 1, CONVERGENCE_TIMEOUT)?;
    has_answer(&host)
}

fn three() -> Result<()> {
    let bed = cluster(etcd::DEMO)?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    snapshot(&bed, 0)?;

    // Stop all members before any data is deleted. If the other two members ran, the first member
    // would join them again.
    for host in &bed.hosts {
        host.check(&["systemctl", "stop", "firstboot", "etcd"])?;
    }
    for host in &bed.hosts {
        lose_data(host)?;
    }
    for host in &bed.hosts {
        wait_said(host, &["only joins a running cluster", "is empty as well"])?;
    }
    // A restarted firstboot still refuses, although the journal contains a new disk id.
    bed.hosts[0].check(&["systemctl", "restart", "--no-block", "firstboot"])?;
    for host in &bed.hosts {
        wait_said(host, &["only joins a running cluster"])?;
        has_no_etcd(host)?;
    }

    let words: &[&str] = &[SNAPSHOT];
    let orders: Vec<_> = bed.hosts.iter().map(|host| (host, words)).collect();
    all_restore(&orders)?;
    bed.wait_all_healthy()?;
    bed.hosts.iter().try_for_each(has_answer)
}

/// Restores a snapshot on a new node, before firstboot.service has generated the id of the disk.
fn new_node() -> Result<()> {
    let (_provisioning, host) = one_member()?;
    let script = "systemctl stop firstboot etcd && \
                  rm -rf /var/lib/etcd/data /var/lib/etcd/firstboot-* /var/lib/firstboot/journal";
    host.sh(script)?.ok()?;

    host.check(&["firstboot", "restore", SNAPSHOT, "--deadline", "60"])?;
    wait_healthy(&host, 1, CONVERGENCE_TIMEOUT)?;
    has_answer(&host)
}
