//! Tests updates to a new minor version of etcd while clients write, and the return to the previous
//! minor version through etcd's own downgrade. A release, an operator, or a failed health check of
//! the last member causes the return.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{Client, Writers};
use tests::cluster::{boot_all, etcdctl, no_downgrade, status, wait_healthy, wait_minor};
use tests::etcd;
use tests::harness::long;
use tests::host::Host;
use tests::programs::recipe;
use tests::repack::{self, Repack};
use tests::requirement::Requirement;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS};
use crate::update::{all_have, build_from, ends, is_at_rest, no_write_is_lost, update};

const FIRST: &str = "3.5.1";
const OLD: &str = "3.5.35";
const NEW: &str = "3.6.16";
const LAST: &str = "3.7.3";

pub(crate) fn trials() -> Vec<Trial> {
    let with = |versions: &[&str]| -> Vec<Requirement> {
        let etcd = versions.iter().map(|version| etcd::need(version));
        REQUIREMENTS.iter().copied().chain(etcd).collect()
    };
    vec![
        long(
            "the_last_member_of_a_roll_that_fails_goes_back_by_a_downgrade",
            &with(&[OLD, NEW]),
            last_fails,
        ),
        long(
            "etcd_rolls_from_3_5_to_3_7_and_back_by_updates_only",
            &with(&[FIRST, OLD, NEW, LAST]),
            there_and_back,
        ),
        long(
            "an_image_stays_if_etcd_can_neither_run_nor_go_back",
            &with(&[OLD, NEW]),
            stays,
        ),
    ]
}

/// Makes three healthy members that run this version of etcd and have image 1. The members'
/// raft logs keep all entries, as in a cluster with few writes.
fn bed(version: &str) -> Result<Bed> {
    let mut bed = Bed::unbuilt()?;
    let text = fs::read_to_string(recipe("demo"))?;
    let text = text.replace("[etcd]\n", "[etcd]\nsnapshot-count = 1000000\n");
    build_from(&bed, &text, "", &[])?;
    bed.install_up_to(3)?;
    publish(&bed, 1, version, |_| Ok(()))?;
    for host in &bed.hosts {
        repack::install(&bed.provisioning.out(), host)?;
    }
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    Ok(bed)
}

/// Publishes an image with this etcd, and with changes to its files.
fn publish(
    bed: &Bed,
    serial: u64,
    version: &str,
    change: impl FnOnce(&Repack) -> Result<()>,
) -> Result<()> {
    let mut image = Repack::of(&bed.provisioning.out())?;
    image.etcd(version)?;
    change(&image)?;
    image.pack(serial, &bed.provisioning.signing_key()?)
}

/// Makes systemd kill etcd 8 s after each start, when the members have already agreed on the
/// cluster version. A script could not kill etcd, because the system-call filter forbids fork.
fn kill_after_8_s(image: &Repack) -> Result<()> {
    let unit = image.path("etc/systemd/system/etcd.service");
    let text = fs::read_to_string(&unit)?;
    let text = text.replace("[Service]\n", "[Service]\nRuntimeMaxSec=8\n");
    fs::write(&unit, text).context("cannot write the unit")
}

fn last_fails() -> Result<()> {
    let bed = bed(OLD)?;
    publish(&bed, 2, NEW, |_| Ok(()))?;
    let kept = bed.provisioning.copy_output()?;
    for host in &bed.hosts[..2] {
        ends(&update(host, "")?, 0, &[])?;
    }
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "roll/");
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;
    publish(&bed, 3, NEW, kill_after_8_s)?;
    let said = [
        "the health check of image 3 failed",
        "enabling the downgrade of the cluster to etcd 3.5",
        "was rolled back",
    ];
    ends(&update(&bed.hosts[2], "")?, 8, &said)?;
    is_at_rest(&bed.hosts[2])?;
    let seen = wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT)?;
    let versions: Vec<&str> = seen.iter().map(|member| &*member.version).collect();
    ensure!(
        versions == [NEW, NEW, OLD],
        "the last node was not rolled back: {versions:?}"
    );
    no_downgrade(&bed.hosts[0])?;

    // The last node installs the corrected image.
    bed.provisioning.restore_output(&kept)?;
    publish(&bed, 4, NEW, |image| {
        Ok(fs::write(image.path("etc/chrony.conf"), "# 4\n")?)
    })?;
    ends(&update(&bed.hosts[2], "")?, 0, &[])?;
    wait_minor(&bed.hosts[2], NEW, CONVERGENCE_TIMEOUT)?;
    no_write_is_lost(writers, &client, &addresses)
}

fn there_and_back() -> Result<()> {
    let bed = bed(FIRST)?;
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "roll/");
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;
    for (version, why) in [
        (
            NEW,
            "3.6 requires that every 3.5 member runs 3.5.32 or later",
        ),
        (LAST, "etcd does not support skipping a minor version"),
    ] {
        publish(&bed, 2, version, |_| Ok(()))?;
        ends(
            &update(&bed.hosts[0], "--check")?,
            3,
            &[why, "[update-minor]"],
        )?;
    }
    roll(
        &bed,
        2,
        OLD,
        [&format!("etcd {OLD} instead of {FIRST}"), ""],
    )?;
    roll(&bed, 3, NEW, ["a new minor version", ""])?;
    rolls_back(&bed)?;
    roll(
        &bed,
        4,
        LAST,
        ["a new minor version", "takes a raft snapshot"],
    )?;
    // The cluster returns to the earlier minor versions through images with higher serials.
    let down = "enabling the downgrade of the cluster to etcd 3.";
    roll(&bed, 5, NEW, ["a downgrade", down])?;
    roll(&bed, 6, OLD, ["a downgrade", down])?;
    no_write_is_lost(writers, &client, &addresses)
}

/// Updates all nodes. `firstboot update --check` must print the text in `check`. On the first node
/// only, `firstboot update` must print the text in `first`.
fn roll(bed: &Bed, serial: u64, version: &str, [check, first]: [&str; 2]) -> Result<()> {
    publish(bed, serial, version, |_| Ok(()))?;
    ends(&update(&bed.hosts[1], "--check")?, 7, &[check])?;
    for (at, host) in bed.hosts.iter().enumerate() {
        let ran = update(host, "")?;
        ends(&ran, 0, &[if at == 0 { first } else { "" }])?;
        ensure!(
            at == 0 || first.is_empty() || !ran.stdout.contains(first),
            "{} also printed the words of the first node: {}",
            host.name(),
            ran.stdout
        );
        no_downgrade(&bed.hosts[2])?;
    }
    for host in &bed.hosts {
        wait_minor(host, version, CONVERGENCE_TIMEOUT)?;
    }
    all_have(bed, version)
}

/// Rolls one node back to the previous minor version, and updates it again.
fn rolls_back(bed: &Bed) -> Result<()> {
    let host = &bed.hosts[1];
    let said = [
        "enabling the downgrade of the cluster to etcd 3.5",
        "restoring the image that this node had before image 3",
    ];
    ends(&update(host, "--rollback")?, 0, &said)?;
    let seen = wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    ensure!(
        seen.iter().filter(|member| member.version == OLD).count() == 1,
        "not exactly one member runs {OLD}: {seen:?}"
    );
    wait_minor(host, OLD, CONVERGENCE_TIMEOUT)?;
    no_downgrade(host)?;
    ends(&update(host, "--retry")?, 0, &[])?;
    wait_minor(host, NEW, CONVERGENCE_TIMEOUT)
}

fn stays() -> Result<()> {
    let mut bed = bed(OLD)?;
    publish(&bed, 2, NEW, |_| Ok(()))?;
    let good = bed.provisioning.copy_output()?;
    for host in &bed.hosts[..2] {
        ends(&update(host, "")?, 0, &[])?;
    }
    // In this image, the program `etcd` is a script that starts the real etcd only once.
    publish(&bed, 3, NEW, |image| {
        kill_after_8_s(image)?;
        let etcd = image.path("usr/local/bin/etcd");
        fs::copy(&etcd, image.path("usr/local/bin/etcd-real"))?;
        let script = "#!/bin/sh\nonce=/var/lib/etcd/data/once\n[ ! -e $once ] || exit 1\n: > $once\n\
             exec /usr/local/bin/etcd-real\n";
        fs::write(&etcd, script).context("cannot write the script")
    })?;
    let said = [
        "the health check of image 3 failed",
        "keeps image 3",
        "etcd on this node does not answer",
    ];
    ends(&update(&bed.hosts[2], "")?, 9, &said)?;
    let shown = bed.hosts[2].run(&["firstboot", "status"])?.stdout;
    ensure!(
        shown.contains("[update-kept]"),
        "status does not show the reason: {shown}"
    );
    let turn = etcdctl(&bed.hosts[0], "get /etcd-image/update/turn")?;
    ensure!(turn.trim().is_empty(), "a node has the turn: {turn}");
    no_downgrade(&bed.hosts[0])?;
    // The node is reinstalled from a corrected image.
    bed.provisioning.restore_output(&good)?;
    publish(&bed, 4, NEW, |image| {
        Ok(fs::write(image.path("etc/chrony.conf"), "# 4\n")?)
    })?;
    let host = &mut bed.hosts[2];
    host.cut_power()?;
    host.revert()?;
    repack::install(&bed.provisioning.out(), host)?;
    host.boot()?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    let seen = status(host)?;
    ensure!(
        seen.iter().all(|member| member.version == NEW),
        "not all members run {NEW}: {seen:?}"
    );
    Ok(())
}
