//! Tests a member that an operator removed by hand, and a member that returns after its replacement
//! has joined. In both cases, firstboot reports the reason and stops before etcd starts. After
//! `firstboot run --rejoin`, the node joins the cluster again.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::{boot_all, etcdctl, move_leadership, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::{client, reference_setup, run};

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, copy, listed, remove, wait_refused};
use crate::disasters::{ours, start_plain_etcd};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_removed_member_and_one_with_old_data_stop_and_one_rejoins",
            REQUIREMENTS,
            removed,
        ),
        trial(
            "a_removal_is_detected_although_another_member_hangs",
            REQUIREMENTS,
            beside_one_that_hangs,
        ),
    ]
}

fn removed() -> Result<()> {
    let mut bed = Bed::new(3)?;
    let kept = run::current()?.folder("kept")?;
    by_hand(&mut bed, &kept)?;

    ours(&mut bed)?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    let still = bed.hosts[2].run(&["firstboot", "run", "--rejoin"])?;
    ensure!(
        still.code() == 3 && still.stderr.contains("still the member"),
        "{still:?}"
    );

    let (old, _) = listed(&bed.hosts[0], "etcd-3")?.context("etcd-3 is not listed")?;
    remove(&bed.hosts[0], &old)?;
    bed.hosts[2].shutdown()?;
    bed.hosts[2].boot()?;
    wait_refused(
        &bed.hosts[2],
        &[&old, "[member-removed]", "firstboot run --rejoin"],
    )?;

    // The power fails during the rejoin. After the power failure, the old data still exists.
    bed.hosts[2].check(&["firstboot", "run", "--rejoin"])?;
    bed.hosts[2].wait_for("ls -d /var/lib/etcd/aside/removed-*", CONVERGENCE_TIMEOUT)?;
    bed.hosts[2].cut_power()?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT)?;
    bed.hosts[2].check(&["sh", "-c", "ls -d /var/lib/etcd/aside/removed-*/member/wal"])?;
    let (new, _) = listed(&bed.hosts[0], "etcd-3")?.context("etcd-3 is not listed")?;
    ensure!(new != old, "the node is still the same member");

    // The test removes the current disk, lets the machine join with a new disk, and then puts the
    // old disk back.
    bed.hosts[2].cut_power()?;
    take_out(&bed.hosts[2], &kept)?;
    bed.replace_disk(2)?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT)?;
    let (third, _) = listed(&bed.hosts[0], "etcd-3")?.context("etcd-3 is not listed")?;
    bed.hosts[2].cut_power()?;
    put_in(&bed.hosts[2], &kept)?;
    bed.hosts[2].boot()?;
    wait_refused(&bed.hosts[2], &[&new, "[member-removed]"])?;
    ensure!(
        listed(&bed.hosts[0], "etcd-3")?.is_some_and(|(id, _)| id == third),
        "the refused node changed the member list"
    );
    ensure!(etcdctl(&bed.hosts[0], "get answer --print-value-only")?.trim() == "42");

    // The replacement member no longer runs, so the node may rejoin.
    bed.hosts[2].check(&["firstboot", "run", "--rejoin"])?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// Runs plain etcd on the old disk. etcd starts, finds out that it was removed, and exits. Only the
/// log of etcd reports the removal, and the operator must find out how to bring the node back.
fn by_hand(bed: &mut Bed, kept: &Path) -> Result<()> {
    let client = start_plain_etcd(bed)?;
    let helper = bed.hosts[0].address();
    let old = client
        .members(helper)?
        .into_iter()
        .find(|member| member.name == "etcd-3")
        .context("etcd-3 is not listed")?
        .id;
    bed.hosts[2].cut_power()?;
    take_out(&bed.hosts[2], kept)?;
    bed.replace_disk(2)?;
    client::insist(|| {
        client.call::<Value>(helper, "cluster/member/remove", &json!({ "ID": old }))
    })?;
    let new = json!({ "peerURLs": ["https://10.101.15.103:2380"] });
    client::insist(|| client.call::<Value>(helper, "cluster/member/add", &new))?;
    reference_setup::configure(&bed.provisioning, &bed.hosts[2], "existing")?;
    bed.hosts[2].boot()?;
    client::insist(|| client.put(bed.hosts[2].address(), "replaced", "yes"))?;

    bed.hosts[2].cut_power()?;
    put_in(&bed.hosts[2], kept)?;
    bed.hosts[2].boot()?;
    bed.hosts[2].wait_for(
        "journalctl -u etcd | grep -q 'permanently removed from the cluster'",
        CONVERGENCE_TIMEOUT,
    )?;
    bed.hosts[2].wait_for("! pidof etcd", CONVERGENCE_TIMEOUT)?;
    let there = client.put(bed.hosts[2].address(), "replaced", "twice");
    ensure!(there.is_err(), "plain etcd did not stay down");
    Ok(())
}

/// The folders with the state of a node.
const DISK: [&str; 2] = ["firstboot", "etcd"];

fn take_out(host: &Host, kept: &Path) -> Result<()> {
    DISK.iter()
        .try_for_each(|name| copy(&host.path("/var/lib").join(name), &kept.join(name)))
}

fn put_in(host: &Host, kept: &Path) -> Result<()> {
    DISK.iter()
        .try_for_each(|name| copy(&kept.join(name), &host.path("/var/lib").join(name)))
}

/// One of the three remaining members accepts connections but never answers. The answers of the
/// other two members still count.
fn beside_one_that_hangs() -> Result<()> {
    let mut bed = Bed::new(4)?;
    boot_all(&mut bed.hosts)?;
    for host in &bed.hosts {
        wait_healthy(host, 4, CONVERGENCE_TIMEOUT)?;
    }
    let (removed, _) = listed(&bed.hosts[0], "etcd-4")?.context("etcd-4 is not listed")?;
    move_leadership(&bed.hosts, 0)?;
    let starts =
        |host: &Host| Ok::<_, anyhow::Error>(host.journal("etcd")?.matches("Starting").count());
    let before = starts(&bed.hosts[3])?;
    bed.hosts[3].cut_power()?;
    remove(&bed.hosts[0], &removed)?;
    bed.hosts[1].check(&["systemctl", "kill", "--signal=STOP", "etcd.service"])?;
    bed.hosts[3].boot()?;
    wait_refused(&bed.hosts[3], &[&removed, "[member-removed]"])?;
    ensure!(
        before > 0 && starts(&bed.hosts[3])? == before,
        "etcd was started"
    );
    bed.hosts[1]
        .check(&["systemctl", "kill", "--signal=CONT", "etcd.service"])
        .map(drop)
}
