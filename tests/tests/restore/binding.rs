//! Tests a binding restore. Two of five members are excluded. Two of the other nodes can have a
//! quorum of the restored cluster, while the third node, with its previous data and together with
//! the excluded members, has a quorum of the previous cluster.

use std::process::{Child, Stdio};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, wait_said};
use crate::orders::{SNAPSHOT, snapshot};

const WITHOUT: [&str; 3] = ["--without", "etcd-4", "etcd-5"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_node_that_accepted_a_restore_does_not_return_to_its_data_beside_excluded_members",
        REQUIREMENTS,
        binding,
    )]
}

fn binding() -> Result<()> {
    let mut bed = Bed::with_etcd("3.5.1", 5)?;
    boot_all(&mut bed.hosts)?;
    wait_healthy(&bed.hosts[0], 5, CONVERGENCE_TIMEOUT)?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    snapshot(&bed, 0)?;
    etcdctl(&bed.hosts[0], "put answer 43")?;
    for mut host in bed.hosts.split_off(3) {
        host.cut_power()?;
    }

    let order = [&["firstboot", "restore", SNAPSHOT], &WITHOUT[..]].concat();
    let running = bed.hosts[1..]
        .iter()
        .map(|host| ordered(host, &order))
        .collect::<Result<Vec<_>>>()?;
    // Each of these nodes misses the answers of the other, so only etcd-1 accepts the restore.
    bed.provisioning.network.drop_between("etcd-2", "etcd-3")?;
    let one = &bed.hosts[0];
    let ran = one.run(&[&order[..], &["--deadline", "15"]].concat())?;
    ensure!(
        ran.code() == 4 && ran.stderr.contains("[restore-binding]"),
        "{ran:?}"
    );
    let journal = one.read("/var/lib/firstboot/journal")?;
    ensure!(
        journal.contains("\"ready\"") && !journal.contains("given-up"),
        "{journal}"
    );
    etcd_is_stopped(one)?;
    let again = one.run(&order)?;
    ensure!(
        again.code() == 3 && again.stderr.contains("[restore-binding]"),
        "{again:?}"
    );
    etcd_is_stopped(one)?;

    bed.provisioning.network.heal_all()?;
    for command in running {
        let ended = command.wait_with_output()?;
        ensure!(ended.status.success(), "{ended:?}");
    }
    for host in &bed.hosts {
        wait_said(host, &["is a healthy member"])?;
        let value = etcdctl(host, "get answer --print-value-only")?;
        ensure!(value.trim() == "42", "{}: {value}", host.name());
    }
    Ok(())
}

fn etcd_is_stopped(host: &Host) -> Result<()> {
    host.check(&["sh", "-c", "! systemctl is-active --quiet etcd.service"])
        .map(drop)
}

/// Starts the command on a host, and waits until the journal contains the order.
fn ordered(host: &Host, order: &[&str]) -> Result<Child> {
    let mut command = host.command(&[order, &["--deadline", "300"]].concat())?;
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn()?;
    host.wait_for(
        "grep -q '\"event\":\"told\"' /var/lib/firstboot/journal",
        CONVERGENCE_TIMEOUT,
    )?;
    Ok(child)
}
