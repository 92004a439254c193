//! The whole way with other versions of etcd: first boot, writes, a lost disk, rebuild, reboot.
//!
//! `ETCD_VERSION=3.6.14 cargo test --test bootstrap --test crash` runs all the rest with another version, too.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{boot_all, status, wait_healthy};
use tests::etcd;
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, NEEDS, PATIENCE};

pub(crate) fn trials() -> Vec<Trial> {
    let way = |version: &str, test| {
        let needs = [NEEDS, &[etcd::need(version)]].concat();
        trial(&format!("etcd_{}_from_first_boot_to_rebuild", version.replace('.', "_")), &needs, test)
    };
    vec![
        way("3.4.23", || path("3.4.23")),
        way("3.5.33", || path("3.5.33")),
        way("3.6.14", || path("3.6.14")),
        way("3.7.1", || path("3.7.1")),
    ]
}

fn path(version: &str) -> Result<()> {
    let mut bed = Bed::with_etcd(version, 3)?;
    boot_all(&mut bed.hosts)?;
    bed.whole()?;
    for host in &bed.hosts {
        let seen = status(host)?;
        ensure!(seen.iter().all(|member| member.version == version), "not {version}: {seen:?}");
        // etcd only warns of a setting that it does not know.
        let unknown = host.journal("etcd")?;
        let unknown: Vec<&str> = unknown.lines().filter(|line| line.contains("unrecognized environment")).collect();
        ensure!(unknown.is_empty(), "{version} does not know what firstboot writes: {unknown:#?}");
    }
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let before = client::insist(|| client.members(addresses[0]))?;
    let writers = Writers::start(&client, &addresses, "w/");
    writers.go_on(10, PATIENCE)?;

    bed.hosts[2].pull_the_plug()?;
    bed.replace_disk(2)?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, PATIENCE)?;
    bed.hosts[2].shutdown()?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, PATIENCE)?;
    writers.go_on(10, PATIENCE)?;

    let written = writers.stop()?;
    for address in &addresses {
        written.kept_in(&client::insist(|| client.all(*address, "w/"))?)?;
    }
    let after = client::insist(|| client.members(addresses[0]))?;
    let new = after.iter().filter(|member| !before.contains(member)).count();
    ensure!(after.len() == 3 && new == 1 && !after.iter().any(|member| member.is_learner), "{before:?}\n{after:?}");
    Ok(())
}
