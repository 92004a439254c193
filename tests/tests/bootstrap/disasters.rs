//! The disasters that plain etcd allows.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl};
use tests::harness::trial;

use crate::bed::{Bed, NEEDS, has_no_etcd, wait_said};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("two_members_wiped_at_once_form_no_cluster_of_their_own", NEEDS, two_wiped)]
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
