//! Tests the permanent loss of a quorum. One machine restores a snapshot, and the other machines
//! join its cluster.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{CONVERGENCE_TIMEOUT, REQUIREMENTS, has_no_etcd, wait_said};
use crate::orders::cluster;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "the_last_member_restores_its_own_database_and_two_new_disks_join_it",
            REQUIREMENTS,
            single_member,
        ),
        trial(
            "after_two_separate_restores_a_new_disk_joins_neither_until_one_gives_way",
            REQUIREMENTS,
            two_clusters,
        ),
    ]
}

fn single_member() -> Result<()> {
    let mut bed = cluster("3.5.1")?;
    etcdctl(&bed.hosts[1], "put answer 42")?;
    let seen = etcdctl(
        &bed.hosts[0],
        "get answer --consistency=s --print-value-only",
    )?;
    ensure!(seen.trim() == "42", "{seen}");

    // A node does not restore alone while other members are running.
    refuses_beside_others(&bed.hosts[0])?;

    for host in &mut bed.hosts[1..] {
        host.cut_power()?;
    }
    bed.hosts[0].check(&["systemctl", "stop", "etcd"])?;
    bed.hosts[0].check(&["cp", "/var/lib/etcd/data/member/snap/db", "/root/copy.db"])?;
    let without = bed.hosts[0].run(&["firstboot", "restore", "/root/copy.db", "--solo"])?;
    ensure!(
        without.code() == 3 && without.stderr.contains("--skip-hash-check"),
        "{without:?}"
    );
    bed.hosts[0].check(&[
        "firstboot",
        "restore",
        "/root/copy.db",
        "--solo",
        "--skip-hash-check",
    ])?;
    let value = etcdctl(&bed.hosts[0], "get answer --print-value-only")?;
    ensure!(value.trim() == "42", "{value}");

    bed.replace_disk(1)?;
    bed.replace_disk(2)?;
    boot_all(&mut bed.hosts[1..])?;
    for host in &bed.hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    }
    ensure!(
        etcdctl(
            &bed.hosts[2],
            "get answer --print-value-only --consistency=s"
        )?
        .trim()
            == "42"
    );
    Ok(())
}

fn refuses_beside_others(host: &Host) -> Result<()> {
    host.check(&["cp", "/var/lib/etcd/data/member/snap/db", "/root/live.db"])?;
    let arguments = [
        "firstboot",
        "restore",
        "/root/live.db",
        "--skip-hash-check",
        "--solo",
        "--deadline",
        "4",
    ];
    let refused = host.run(&arguments)?;
    ensure!(
        [3, 4].contains(&refused.code()) && !refused.stdout.contains("are ready"),
        "{refused:?}"
    );
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    ensure!(
        refused.stdout.contains("etcdutl snapshot restore"),
        "firstboot prepared no data: {refused:?}"
    );
    ensure!(
        !host.path("/var/lib/etcd/restore").exists(),
        "the prepared data is left"
    );
    Ok(())
}

/// On an operator's order, two machines that cannot reach each other both continue alone. A member
/// that starts at this point must not choose between the two clusters.
fn two_clusters() -> Result<()> {
    let mut bed = cluster("3.5.1")?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    bed.hosts[2].cut_power()?;
    bed.provisioning.network.drop_between("etcd-1", "etcd-2")?;
    for host in &bed.hosts[..2] {
        host.check(&["systemctl", "stop", "etcd"])?;
        host.check(&["cp", "/var/lib/etcd/data/member/snap/db", "/root/copy.db"])?;
        host.check(&[
            "firstboot",
            "restore",
            "/root/copy.db",
            "--solo",
            "--skip-hash-check",
        ])?;
        etcdctl(host, &format!("put kept-by {}", host.name()))?;
    }
    bed.provisioning.network.heal_all()?;

    bed.replace_disk(2)?;
    bed.hosts[2].boot()?;
    wait_said(&bed.hosts[2], &["[clusters-differ]"])?;
    has_no_etcd(&bed.hosts[2])?;
    for host in &bed.hosts[..2] {
        let kept = etcdctl(host, "get kept-by --print-value-only --consistency=s")?;
        ensure!(
            kept.trim() == host.name(),
            "{} has the data of {kept}",
            host.name()
        );
        let members = etcdctl(host, "member list")?;
        ensure!(members.lines().count() == 1, "{members}");
    }

    // An operator decides which of the two clusters to keep.
    bed.hosts[1].cut_power()?;
    bed.replace_disk(1)?;
    bed.hosts[1].boot()?;
    for host in &bed.hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        let kept = etcdctl(host, "get kept-by --print-value-only --consistency=s")?;
        ensure!(
            kept.trim() == "etcd-1",
            "{} has the data of {kept}",
            host.name()
        );
    }
    Ok(())
}
