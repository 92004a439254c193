//! Tests a healthy member whose data an operator or an accident empties, replaces or damages. etcd
//! must never start on this data under the old member's id, regardless of how etcd is started
//! (etcd-io/etcd#2780, #8486, #10817).

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client};
use tests::cluster::{boot_all, wait_healthy};
use tests::etcd::need;
use tests::harness::{Kind, long, trial};
use tests::host::Host;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, copy, listed};

pub(crate) fn trials() -> Vec<Trial> {
    let way = |what: &str, version: &str, run: Kind, test| {
        let needs = [REQUIREMENTS, &[need(version)]].concat();
        run(
            &format!("etcd_{}_{what}", version.replace('.', "_")),
            &needs,
            test,
        )
    };
    let rebuilt = "a_member_without_data_is_rebuilt_and_never_starts_under_its_old_id";
    let kept = "ten_writes_survive_lost_data_and_a_partition";
    vec![
        way(rebuilt, "3.5.1", trial, || emptied("3.5.1")),
        way(rebuilt, "3.6.16", long, || emptied("3.6.16")),
        way(kept, "3.5.1", long, || ten_writes("3.5.1")),
        way(kept, "3.6.16", trial, || ten_writes("3.6.16")),
    ]
}

/// Makes three members. The third member has been rebuilt once, so it has the etcd.conf of a joined
/// member.
fn rebuilt_once(version: &str) -> Result<Bed> {
    let mut bed = Bed::with_etcd(version, 3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    bed.hosts[2].cut_power()?;
    bed.replace_disk(2)?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT)?;
    bed.hosts[2].wait_for("systemctl is-active --quiet firstboot", CONVERGENCE_TIMEOUT)?;
    Ok(bed)
}

/// Commands with which an operator might lose a member's data. /root/copy is an older copy of the
/// data, and /root/other is a copy of another member's data. After each loss, the script or systemd
/// starts etcd again.
const WAYS: [(&str, &str); 11] = [
    ("removed while etcd is stopped", "systemctl stop etcd; rm -rf data; systemctl start --no-block etcd"),
    ("removed, and etcd killed", "rm -rf data; systemctl kill --signal=KILL etcd"),
    ("emptied, and etcd killed", "rm -rf data/*; systemctl kill --signal=KILL etcd"),
    ("the log removed", "systemctl stop etcd; rm -rf data/member/wal; systemctl restart --no-block etcd"),
    ("the log emptied, and etcd killed", "rm -rf data/member/wal/*; systemctl kill --signal=KILL etcd"),
    ("the database removed", "systemctl stop etcd; rm data/member/snap/db; systemctl start --no-block etcd"),
    ("the database emptied, and etcd killed", "truncate -s 0 data/member/snap/db; systemctl kill --signal=KILL etcd"),
    ("the snapshots removed", "systemctl stop etcd; rm -rf data/member/snap; systemctl start --no-block etcd"),
    ("replaced with an older copy", "systemctl stop etcd; rm -rf data; cp -a /root/copy data; systemctl start --no-block etcd"),
    (
        "an older copy in the same directories",
        "systemctl stop etcd; for d in wal snap; do rm -f data/member/$d/*; cp -a /root/copy/member/$d/. data/member/$d; done
         systemctl start --no-block etcd",
    ),
    ("replaced with another member's data", "systemctl stop etcd; rm -rf data; cp -a /root/other data; systemctl start --no-block etcd"),
];

fn emptied(version: &str) -> Result<()> {
    let bed = rebuilt_once(version)?;
    let client = Client::new(&bed.provisioning)?;
    let mut keys = 0;
    for (what, script) in WAYS {
        let host = &bed.hosts[2];
        host.check(&[
            "sh",
            "-c",
            "rm -rf /root/copy /root/other; cp -a /var/lib/etcd/data /root/copy",
        ])?;
        copy(
            &bed.hosts[0].path("/var/lib/etcd/data"),
            &host.path("/root/other"),
        )?;
        keys += 10;
        for key in keys - 10..keys {
            client::insist(|| client.put(bed.hosts[0].address(), &format!("kept/{key}"), "v"))?;
        }
        let begun = Instant::now();
        lose(&bed, &format!("cd /var/lib/etcd; {script}")).with_context(|| what.to_owned())?;
        println!(
            "{what}: a healthy member again after {:.1?}",
            begun.elapsed()
        );
        let found = client::insist(|| client.all(host.address(), "kept/"))?;
        ensure!(
            found.len() == keys,
            "{what}: of {keys} keys, only {} exist",
            found.len()
        );
    }
    Ok(())
}

/// Runs the script, which makes the third member lose its data. The node then returns as a new
/// member without intervention.
pub(crate) fn lose(bed: &Bed, script: &str) -> Result<()> {
    let host = &bed.hosts[2];
    let (old, _) = listed(&bed.hosts[0], "etcd-3")?.context("etcd-3 is not listed")?;
    host.sh(script)?;
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    while listed(&bed.hosts[0], "etcd-3")
        .ok()
        .flatten()
        .is_none_or(|(id, _)| id == old)
    {
        ensure!(
            Instant::now() < end,
            "etcd-3 still has the member id {old}\n{}",
            journals(host)?
        );
        sleep(Duration::from_millis(100));
    }
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    host.wait_for("systemctl is-active --quiet firstboot", CONVERGENCE_TIMEOUT)?;
    let log = host.journal("etcd")?;
    ensure!(
        !log.contains("tocommit("),
        "etcd started with an empty log and an old id:\n{log}"
    );
    Ok(())
}

fn journals(host: &Host) -> Result<String> {
    let tail = |unit| Ok::<_, anyhow::Error>(tests::harness::tail(&host.journal(unit)?, 20));
    Ok(format!(
        "firstboot:\n{}\netcd:\n{}",
        tail("firstboot")?,
        tail("etcd")?
    ))
}

/// Members 2 and 3 acknowledge ten writes while member 1 is off. After these writes, member 3 loses
/// its data, member 2 is cut off, and member 1 is the first member to come back. Members 1 and 3 do
/// not have the ten writes, so they must not become a quorum.
fn ten_writes(version: &str) -> Result<()> {
    let mut bed = rebuilt_once(version)?;
    let client = Client::new(&bed.provisioning)?;
    let [first, second, _] = [0, 1, 2].map(|at: usize| bed.hosts[at].address());
    client::insist(|| client.put(first, "before", "v"))?;
    bed.hosts[0].cut_power()?;
    for number in 0..10 {
        client::insist(|| client.put(second, &format!("acknowledged/{number}"), "v"))?;
    }
    bed.hosts[2].sh("rm -rf /var/lib/etcd/data; systemctl kill --signal=KILL etcd")?;
    bed.provisioning.network.unplug("etcd-2")?;
    bed.hosts[0].boot()?;
    // The wait is longer than an election, and longer than systemd's pause before it restarts etcd.
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        let written = client.put(first, "after", "v");
        ensure!(
            written.is_err(),
            "members 1 and 3 acknowledged a write without the ten earlier writes"
        );
        sleep(Duration::from_millis(500));
    }
    bed.provisioning.network.replug("etcd-2")?;
    for host in &bed.hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    }
    for host in &bed.hosts {
        let found = client::insist(|| client.all(host.address(), "acknowledged/"))?;
        ensure!(
            found.len() == 10,
            "of ten acknowledged writes, {} has {}",
            host.name(),
            found.len()
        );
    }
    Ok(())
}
