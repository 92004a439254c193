//! The disasters that plain etcd allows.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::process;

use crate::bed::{Bed, NEEDS, PATIENCE, has_no_etcd, listed, wait_refused, wait_said};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("two_members_wiped_at_once_form_no_cluster_of_their_own", NEEDS, two_wiped),
        trial("a_second_machine_with_a_members_identity_is_refused", NEEDS, twin),
    ]
}

/// etcd-io/etcd#12227: two of three with new disks, started as `new`, are a quorum. They elect a leader with nothing
/// in it, and the third, which has the data, follows it.
fn two_wiped() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.whole()?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    for host in &mut bed.hosts {
        host.pull_the_plug()?;
    }
    bed.replace_disk(0)?;
    bed.replace_disk(1)?;

    // Alone, they cannot know what the third has.
    boot_all(&mut bed.hosts[..2])?;
    for (own, other) in [(0, "etcd-2"), (1, "etcd-1")] {
        wait_said(&bed.hosts[own], &[&format!("{other} is empty"), "etcd-3 does not answer since"])?;
    }
    sleep(Duration::from_secs(5));
    bed.hosts[..2].iter().try_for_each(has_no_etcd)?;

    // With it, they do.
    bed.hosts[2].boot()?;
    for host in &bed.hosts[..2] {
        wait_said(host, &["etcd-3 runs etcd in the cluster", "must not start as new", "`firstboot restore`"])?;
    }
    sleep(Duration::from_secs(5));
    bed.hosts[..2].iter().try_for_each(has_no_etcd)?;
    // Without a quorum etcd answers no client, so its database is looked into.
    let database = std::fs::read(bed.hosts[2].path("/var/lib/etcd/data/member/snap/db"))?;
    ensure!(database.windows(6).any(|bytes| bytes == b"answer"), "etcd-3 has lost what it had");
    Ok(())
}

/// A clone beside its node: plain etcd starts there, answers for the same member with other data, and both are lost.
/// Here it finds the other by its address before it says a word to anybody.
fn twin() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.whole()?;
    let before = listed(&bed.hosts[0], "etcd-3")?;
    let boots = bed.hosts[2].check(&["systemctl", "show", "--property=MainPID", "etcd.service"])?;

    // With an empty disk, and the same document.
    let mut twin = bed.provisioning.twin("etcd-3")?;
    let mac = bed.hosts[2].link().mac.clone();
    twin.boot()?;
    wait_refused(&twin, &["another machine", &mac, "10.101.15.103", "switch the wrong one off"])?;
    has_no_etcd(&twin)?;
    ensure!(!twin.path("/var/lib/firstboot/journal").exists(), "it took the identity on");
    twin.pull_the_plug()?;

    // With a copy of the member's disk.
    for folder in ["firstboot", "etcd"] {
        let (from, to) = (bed.hosts[2].path("/var/lib").join(folder), twin.path("/var/lib").join(folder));
        process::check("rm", &["-rf", &to.to_string_lossy()])?;
        process::check("cp", &["-a", &from.to_string_lossy(), &to.to_string_lossy()])?;
    }
    twin.boot()?;
    wait_refused(&twin, &["this disk is a copy, or was moved", &mac])?;
    // And with a journal of that disk that knows no machine.
    process::check("rm", &[&twin.path("/var/lib/firstboot/journal").to_string_lossy()])?;
    twin.check(&["systemctl", "restart", "--no-block", "firstboot.service"])?;
    wait_refused(&twin, &["another machine", &mac])?;
    twin.pull_the_plug()?;

    wait_healthy(&bed.hosts[0], 3, PATIENCE)?;
    ensure!(listed(&bed.hosts[0], "etcd-3")? == before, "the member list has changed");
    let now = bed.hosts[2].check(&["systemctl", "show", "--property=MainPID", "etcd.service"])?;
    ensure!(now == boots, "etcd-3 was restarted");
    Ok(())
}
