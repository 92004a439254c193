//! The scenario of `firstboot leave`. No program repeats the command after an interruption, so the
//! scenario repeats it as an operator would.

use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::bed::{Bed, CONVERGENCE_TIMEOUT, has_finished};
use super::sweep::Scenario;
use super::traced::Traced;
use crate::client::insist;
use crate::cluster::etcdctl;
use crate::harness::tail;
use crate::host::{Host, POLL_INTERVAL};

/// The leader transfers the leadership, leaves the cluster, and does not join again.
pub(super) const LEAVE: Scenario = Scenario {
    name: "leave",
    victim: 0,
    traced: Traced::Leave,
    setup: |bed| {
        bed.make_healthy(LEAVE.victim)?;
        // etcd does not remove one of three members until all three have been connected for five
        // seconds (etcdserver, HealthInterval). Wait here for most of that time. Otherwise, the
        // command would repeat its request, and the sweep does not test repeated requests.
        sleep(Duration::from_secs(4));
        Ok(())
    },
    begin: |bed| bed.launch(LEAVE.victim, Traced::Leave),
    between: majority,
    end: |bed| {
        insist_on_leaving(bed)?;
        is_out(&bed.hosts[LEAVE.victim])?;
        stay(bed)
    },
};

/// The other two members, which are enough for a quorum.
const OTHERS: [usize; 2] = [1, 2];

/// Checks that the remaining members acknowledge writes. As long as the leaving node is a member,
/// etcd must run on it, because the remaining members may need it for a quorum.
fn majority(bed: &Bed) -> Result<()> {
    let (client, leaver) = (bed.client()?, &bed.hosts[LEAVE.victim]);
    for at in OTHERS {
        let other = &bed.hosts[at];
        insist(|| client.put(other.address(), "crash", other.name()))
            .context("no write is acknowledged")?;
        let list = insist(|| client.members(other.address()))?;
        if list.iter().any(|member| member.name == leaver.name()) {
            leaver
                .check(&["systemctl", "is-active", "etcd.service"])
                .context("the node is a member, but its etcd is down")?;
        }
    }
    Ok(())
}

/// Repeats the command until it succeeds, as an operator would. After a power cut, an operator
/// would repeat the command when the machine is up. By then, firstboot.service has carried out the
/// order in the journal.
fn insist_on_leaving(bed: &Bed) -> Result<()> {
    let host = &bed.hosts[LEAVE.victim];
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    loop {
        let up = host.run(&["systemctl", "is-system-running"])?.stdout;
        let (done, shown) = has_finished(host, Traced::Leave)?;
        if done {
            return Ok(());
        }
        let idle =
            shown.contains("ActiveState=failed\n") || shown.contains("ActiveState=inactive\n");
        if idle && ["running", "degraded"].contains(&up.trim()) {
            bed.launch(LEAVE.victim, Traced::Leave)?;
        }
        let said = || tail(&host.journal("leave").unwrap_or_default(), 20);
        ensure!(
            Instant::now() < end,
            "the node has not left: the machine is {up}\n{shown}\n{}",
            said()
        );
        sleep(POLL_INTERVAL);
    }
}

/// Checks that the node is out of the cluster: the unit reports this state, etcd is down, and all
/// of etcd's data is in one archive folder.
fn is_out(host: &Host) -> Result<()> {
    host.wait_for(
        "systemctl show -p StatusText firstboot.service | grep -q 'has left its cluster'",
        CONVERGENCE_TIMEOUT,
    )?;
    host.wait_for(
        "systemctl is-failed --quiet firstboot.service",
        CONVERGENCE_TIMEOUT,
    )?;
    let etcd = host.check(&[
        "systemctl",
        "show",
        "--property=ActiveState,MainPID",
        "etcd.service",
    ])?;
    ensure!(
        etcd.contains("MainPID=0\n") && !etcd.contains("activating"),
        "etcd is not down: {etcd}"
    );
    let there = host
        .sh("ls -d /var/lib/etcd/data /var/lib/etcd/aside/* /var/lib/etcd/aside/left-*/member/wal")?
        .stdout;
    let aside: Vec<&str> = there.lines().collect();
    ensure!(
        matches!(aside[..], [one, wal] if one.contains("/left-") && wal == format!("{one}/member/wal")),
        "the data is not in one archive folder: {there}"
    );
    Ok(())
}

/// Checks that the other members form a healthy cluster of two.
fn stay(bed: &Bed) -> Result<()> {
    majority(bed)?;
    let leaver = bed.hosts[LEAVE.victim].name();
    for at in OTHERS {
        let list = etcdctl(&bed.hosts[at], "member list")?;
        let voters = list.lines().filter(|line| line.ends_with("false")).count();
        ensure!(
            list.lines().count() == 2 && voters == 2 && !list.contains(leaver),
            "the members are\n{list}"
        );
        bed.hosts[at].wait_for(
            ". /etc/profile.d/etcdctl.sh && etcdctl endpoint health --cluster",
            CONVERGENCE_TIMEOUT,
        )?;
    }
    Ok(())
}
