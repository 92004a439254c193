//! Tests a full life cycle with each version of etcd: first boot, writes, a lost disk, rebuild,
//! reboot, snapshot, restore, leave. The hosts lack every system call newer than Linux 3.10, except
//! `seccomp`, which firstboot needs. The missing calls include all others that Red Hat backported
//! to the kernel of CentOS 7.9 (see [`tests::kernel`]).
//!
//! `ETCD_VERSION=3.6.16 cargo test --test bootstrap --test crash` uses a different version in all
//! tests that set no version themselves.

use std::{fs, thread};

use anyhow::{Result, anyhow, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{boot_all, etcdctl, status, wait_healthy};
use tests::etcd;
use tests::harness::{Kind, long, trial};
use tests::host::Host;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, listed};

pub(crate) fn trials() -> Vec<Trial> {
    let way = |version: &str, run: Kind, test| {
        let needs = [REQUIREMENTS, &[etcd::need(version)]].concat();
        run(
            &format!(
                "etcd_{}_lives_a_whole_life_on_an_old_kernel",
                version.replace('.', "_")
            ),
            &needs,
            test,
        )
    };
    // Most other tests run with 3.5.1.
    vec![
        way("3.4.23", trial, || path("3.4.23")),
        way("3.5.1", long, || path("3.5.1")),
        way("3.5.35", long, || path("3.5.35")),
        way("3.6.16", long, || path("3.6.16")),
        way("3.7.3", trial, || path("3.7.3")),
    ]
}

fn path(version: &str) -> Result<()> {
    let mut bed = Bed::with_etcd(version, 3)?;
    bed.hosts.iter_mut().for_each(Host::restrict_to_kernel_3_10);
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    for host in &bed.hosts {
        let seen = status(host)?;
        ensure!(
            seen.iter().all(|member| member.version == version),
            "not {version}: {seen:?}"
        );
        // etcd only warns about an unknown setting, so search etcd's log for this warning.
        let unknown = host.journal("etcd")?;
        let unknown: Vec<&str> = unknown
            .lines()
            .filter(|line| line.contains("unrecognized environment"))
            .collect();
        ensure!(
            unknown.is_empty(),
            "{version} does not support settings that firstboot writes: {unknown:#?}"
        );
    }
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let before = client::insist(|| client.members(addresses[0]))?;
    let writers = Writers::start(&client, &addresses, "w/");
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;

    bed.hosts[2].cut_power()?;
    bed.replace_disk(2)?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT)?;
    bed.hosts[2].shutdown()?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT)?;
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;

    let written = writers.stop()?;
    for address in &addresses {
        written.kept_in(&client::insist(|| client.all(*address, "w/"))?)?;
    }
    let after = client::insist(|| client.members(addresses[0]))?;
    let new = after
        .iter()
        .filter(|member| !before.contains(member))
        .count();
    ensure!(
        after.len() == 3 && new == 1 && !after.iter().any(|member| member.is_learner),
        "{before:?}\n{after:?}"
    );
    restored(&bed.hosts)?;
    check_state_after_leave(&bed.hosts)
}

/// Takes a snapshot, starts a temporary etcd from the snapshot, and then restores the snapshot on
/// all members.
fn restored(hosts: &[Host]) -> Result<()> {
    const SNAPSHOT: &str = "/root/life.db";
    etcdctl(&hosts[0], "put life before")?;
    hosts[0].check(&["firstboot", "snapshot", SNAPSHOT])?;
    hosts[0].check(&["firstboot", "snapshot", "verify", "--boot", SNAPSHOT])?;
    etcdctl(&hosts[0], "put life after")?;
    let bytes = fs::read(hosts[0].path(SNAPSHOT))?;
    thread::scope(|scope| {
        let restore = |host: &Host| -> Result<String> {
            host.write(SNAPSHOT, &bytes, 0o600)?;
            host.check(&["firstboot", "restore", SNAPSHOT])
        };
        let running: Vec<_> = hosts
            .iter()
            .map(|host| scope.spawn(move || restore(host)))
            .collect();
        running.into_iter().try_for_each(|one| {
            one.join()
                .map_err(|_| anyhow!("a restore panicked"))?
                .map(drop)
        })
    })?;
    for host in hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        let value = etcdctl(host, "get life --print-value-only")?;
        ensure!(value.trim() == "before", "{} has {value:?}", host.name());
    }
    Ok(())
}

/// Makes the last member leave, while the other members keep running.
fn check_state_after_leave(hosts: &[Host]) -> Result<()> {
    hosts[2].check(&["firstboot", "leave"])?;
    ensure!(
        listed(&hosts[0], hosts[2].name())?.is_none(),
        "{} is still a member",
        hosts[2].name()
    );
    etcdctl(&hosts[0], "put life on")?;
    Ok(())
}
