//! The scenarios of an update, and of an update that is rolled back. `firstboot update` stages the
//! image, and firstboot-update.service carries out the order. Like an operator, the sweep repeats
//! the command if the command is interrupted, or if the node rolled the new image back because of
//! the interruption.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::bed::{Bed, CONVERGENCE_TIMEOUT, has_finished};
use super::releases::{Release, offer};
use super::sweep::Scenario;
use super::traced::Traced;
use crate::client::insist;
use crate::cluster::{etcdctl, wait_healthy};
use crate::harness::tail;
use crate::host::{Host, POLL_INTERVAL};

pub(super) const VICTIM: usize = 0;
/// The other two members, which are enough for a quorum.
pub(super) const OTHERS: [usize; 2] = [1, 2];

/// The command stages an image and orders the update.
pub(super) const ORDER: Scenario = Scenario {
    name: "update, the command",
    victim: VICTIM,
    traced: Traced::OrderUpdate,
    setup: |bed| setup(bed, Release::Good),
    begin: |bed| bed.launch(VICTIM, Traced::OrderUpdate),
    between: serves,
    end: |bed| ends(bed, Release::Good),
};

/// The unit carries out the order.
pub(super) const UPDATE: Scenario = Scenario {
    name: "update, the unit",
    traced: Traced::Update,
    ..ORDER
};

/// The unit carries out the order to install an image that fails its health check. The node
/// restores the previous image.
pub(super) const ROLLBACK: Scenario = Scenario {
    name: "rollback, the unit",
    traced: Traced::Update,
    setup: |bed| setup(bed, Release::Bad),
    end: |bed| ends(bed, Release::Bad),
    ..ORDER
};

/// Restores the victim's first image, without a trace of an update. etcd keeps running.
const RESET: &str = "set -e
systemctl stop order-update.service firstboot-update.service
systemctl reset-failed
rm -rf /etc/own/* /var/lib/firstboot/update
tar -C / -xpf /crash/image.tar
systemctl daemon-reload
firstboot image";

fn setup(bed: &Bed, release: Release) -> Result<()> {
    let host = &bed.hosts[VICTIM];
    reset(host)?;
    // Make another member the leader, because an election after the loss of the leader takes
    // seconds.
    bed.make_healthy(OTHERS[0])?;
    clear_keys(host)?;
    offer(&bed.orders(VICTIM, Traced::OrderUpdate), release)
}

/// Restores a host's first image.
pub(super) fn reset(host: &Host) -> Result<()> {
    host.sh(RESET)?.ok().map(drop)
}

/// Removes the traces of earlier updates from etcd.
pub(super) fn clear_keys(host: &Host) -> Result<()> {
    for key in ["turn", "newest", "failed/2", "failed/3"] {
        etcdctl(host, &format!("del /etcd-image/update/{key}"))?;
    }
    Ok(())
}

/// The file on the victim's disk that contains the order to update.
const STATE: &str = "/var/lib/firstboot/update/state.json";

/// Reads an operator's file, if it exists. The file can be on a disk that only the host has
/// mounted.
fn file(host: &Host, name: &str) -> Result<Option<String>> {
    let ran = host.run(&["cat", &format!("/etc/own/{name}")])?;
    Ok(ran.success().then_some(ran.stdout))
}

/// Checks that the other two members serve clients.
fn serves(bed: &Bed) -> Result<()> {
    let client = bed.client()?;
    OTHERS.iter().try_for_each(|at| {
        let other = &bed.hosts[*at];
        insist(|| client.put(other.address(), "crash", other.name()))
    })
}

/// Repeats the command until the update has ended, with no order left and the turn released. The
/// victim must have exactly one image: the new image, or the previous image with a record that the
/// new image failed.
pub(super) fn ends(bed: &Bed, release: Release) -> Result<()> {
    let host = &bed.hosts[VICTIM];
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    let failed = format!("/etcd-image/update/failed/{}", release.serial());
    loop {
        let up = host.run(&["systemctl", "is-system-running"])?.stdout;
        let (done, shown) = has_finished(host, Traced::OrderUpdate)?;
        let idle =
            shown.contains("ActiveState=failed\n") || shown.contains("ActiveState=inactive\n");
        let busy = host.run(&["test", "-e", STATE])?.success();
        if (done || idle) && !busy && ["running", "degraded"].contains(&up.trim()) {
            let ended = if release.fails() {
                !etcdctl(host, &format!("get {failed}"))?.is_empty()
            } else {
                file(host, "word")?.as_deref() == Some(release.name())
            };
            if ended {
                break;
            }
            ensure!(
                !shown.contains("ExecMainStatus=3\n"),
                "the node refuses the image:\n{}",
                tail(&host.journal("order-update").unwrap_or_default(), 20)
            );
            bed.stop(VICTIM, Traced::OrderUpdate)?;
            sleep(Duration::from_secs(1));
            bed.launch(VICTIM, Traced::OrderUpdate)?;
        }
        ensure!(
            Instant::now() < end,
            "the update has not ended: the machine is {up}\n{shown}\n{}\n{}",
            tail(&host.journal("order-update").unwrap_or_default(), 20),
            tail(&host.journal("firstboot-update").unwrap_or_default(), 30)
        );
        sleep(POLL_INTERVAL);
    }
    bed.stop(VICTIM, Traced::OrderUpdate)?;
    host.wait_for(
        "! systemctl is-active --quiet firstboot-update.service",
        CONVERGENCE_TIMEOUT,
    )?;
    host.check(&["firstboot", "image"])?;
    has_files(host, release)?;
    let turn = etcdctl(host, "get /etcd-image/update/turn")?;
    ensure!(turn.is_empty(), "the turn is not released: {turn}");
    let marked = etcdctl(host, &format!("get {failed}"))?;
    ensure!(
        marked.is_empty() != release.fails(),
        "the record of the failed release is wrong: {marked:?}"
    );
    bed.wait_healthy()?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// Checks that the host has the operator's files of exactly one image.
fn has_files(host: &Host, release: Release) -> Result<()> {
    let [word, gone, new] = [
        file(host, "word")?,
        file(host, "gone")?,
        file(host, "deep/new")?,
    ];
    let has = [word.as_deref(), gone.as_deref(), new.as_deref()];
    let expected = match release.remains() {
        Some(image) => [Some(image.name()), None, Some(image.name())],
        None => [Some("one\n"), Some("one\n"), None],
    };
    ensure!(has == expected, "the files are {has:?}, not {expected:?}");
    Ok(())
}
