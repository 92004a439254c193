//! `firstboot leave` is a command: when it is cut short nobody but the operator says it again.

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
use crate::host::Host;

/// The leader leaves: it hands on the leadership, is removed, and stays out.
pub(super) const LEAVE: Scenario = Scenario {
    name: "leave",
    victim: 0,
    traced: Traced::Leave,
    prepare: |bed| {
        bed.make_healthy(LEAVE.victim)?;
        // etcd lets nobody go before all have been connected for five seconds (etcdserver,
        // HealthInterval): most of that is waited for here, since asking again and again is not
        // what is swept.
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

/// The others, as many as two of them are enough for.
const OTHERS: [usize; 2] = [1, 2];

/// Whoever stays can write, and who may be needed for that is there: etcd runs on the node as long
/// as it is a member.
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
                .context("it is a member, and its etcd is down")?;
        }
    }
    Ok(())
}

/// The operator says it until it is done. After a power cut he does so once the machine is up, and
/// firstboot.service has done by then what was written down.
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
            "it has not left: the machine is {up}\n{shown}\n{}",
            said()
        );
        sleep(Duration::from_millis(50));
    }
}

/// It says so, etcd is down, and what it had is in one folder, aside.
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
        "its data is not where it should be: {there}"
    );
    Ok(())
}

/// The others are a healthy cluster of two.
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
