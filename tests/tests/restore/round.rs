//! There and back again.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{etcdctl, wait_healthy};
use tests::etcd::need;
use tests::harness::trial;

use crate::bed::{NEEDS, PATIENCE, token};
use crate::told::{SNAPSHOT, all_restore, cluster, content, revision, snapshot};

pub(crate) fn trials() -> Vec<Trial> {
    let newer: &'static [_] = Box::leak([NEEDS, &[need("3.6.14")]].concat().into_boxed_slice());
    vec![
        trial("three_members_of_3_5_1_go_to_a_snapshot_and_back", NEEDS, || there_and_back("3.5.1")),
        trial("three_members_of_3_6_14_go_to_a_snapshot_and_back", newer, || there_and_back("3.6.14")),
    ]
}

fn there_and_back(version: &str) -> Result<()> {
    let bed = cluster(version)?;
    let [one, two, three] = &bed.hosts[..] else { anyhow::bail!("not three hosts") };
    let put = "for i in $(seq 50); do etcdctl put old/$i $i; done > /dev/null; etcdctl del old/7 old/9";
    one.sh(&format!(". /etc/profile.d/etcdctl.sh; {put}"))?.ok()?;
    etcdctl(one, "lease grant 86400")?;
    etcdctl(one, "user add alice:secret")?;
    snapshot(&bed, 0)?;
    let wanted = content(one)?;
    etcdctl(two, "put later 1")?;
    etcdctl(two, "put old/1 changed")?;
    let (before, seen, first) = (content(one)?, revision(one)?, token(one)?);

    // A client that has seen what will be no more.
    let watch = format!(". /etc/profile.d/etcdctl.sh; exec etcdctl watch later --rev={seen} > /root/watched 2>&1");
    let mut watch = one.command(&["sh", "-c", &watch])?.spawn().context("cannot start the watch")?;
    one.wait_for("grep -q changed /root/watched || sleep 1", PATIENCE)?;

    let plan = one.check(&["firstboot", "restore", "--dry-run", SNAPSHOT])?;
    ensure!(plan.contains("etcd-1, etcd-2, etcd-3") && plan.contains("sha256"), "{plan}");
    ensure!(content(one)? == before, "a dry run changed something");

    fs::remove_file(two.path(SNAPSHOT))?;
    let told: [(_, &[&str]); 3] = [(one, &[SNAPSHOT]), (two, &["--from", "etcd-1"]), (three, &[SNAPSHOT])];
    let came = all_restore(&told)?;
    for ran in &came {
        ensure!(ran.stdout.contains("etcd-1, etcd-2, etcd-3 are ready"), "{}", ran.stdout);
    }
    for host in &bed.hosts {
        wait_healthy(host, 3, PATIENCE)?;
        ensure!(content(host)? == wanted, "{} has other keys or revisions than the snapshot", host.name());
    }
    ensure!(etcdctl(two, "user list")?.trim() == "alice");
    ensure!(etcdctl(two, "lease list")?.contains("found 1 leases"));
    bed.whole()?;
    let second = token(one)?;
    ensure!(second.starts_with("demo-r-") && second != first, "{second}");

    let raises = version != "3.5.1";
    ensure!(came[0].stdout.contains("cannot raise the revision") != raises, "{}", came[0].stdout);
    if raises {
        // The watch that went on through the restore, and one that begins where it was.
        one.wait_for("grep -q compacted /root/watched", PATIENCE)?;
        let again = one.sh(&format!(". /etc/profile.d/etcdctl.sh; timeout 20 etcdctl watch later --rev={seen}"))?;
        ensure!(format!("{again:?}").contains("compacted"), "{again:?}");
        ensure!(revision(three)? >= seen + 1_000_000_000, "{}", revision(three)?);
    }
    let _ = watch.kill();
    watch.wait()?;

    etcdctl(three, "put after 1")?;
    let listed = two.check(&["firstboot", "restore", "--list"])?;
    ensure!(
        listed.contains("/var/lib/etcd/aside/before-restore-") && listed.contains("--rollback returns"),
        "{listed}"
    );
    for host in &bed.hosts {
        ensure!(!host.path("/var/lib/etcd/restore").exists(), "{} keeps what was in the making", host.name());
    }

    let back: [(_, &[&str]); 3] = [(one, &["--rollback"]), (two, &["--rollback"]), (three, &["--rollback"])];
    all_restore(&back)?;
    for host in &bed.hosts {
        wait_healthy(host, 3, PATIENCE)?;
        ensure!(content(host)? == before, "{} is not as it was", host.name());
    }
    ensure!(token(one)? == first);

    // All of it outlives a boot.
    let mut bed = bed;
    bed.hosts[2].shutdown()?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, PATIENCE)?;
    let listed = bed.hosts[2].check(&["firstboot", "restore", "--list"])?;
    ensure!(listed.lines().count() == 1, "what was restored is set aside now, and nothing else:\n{listed}");
    // The member is well before its firstboot has ended, which holds the lock until then.
    bed.hosts[2].wait_for("firstboot restore --prune 1", PATIENCE)?;
    ensure!(bed.hosts[2].check(&["firstboot", "restore", "--list"])? == listed, "too young to be deleted");
    bed.hosts[2].wait_for("sleep 1; firstboot restore --prune 0", PATIENCE)?;
    ensure!(bed.hosts[2].check(&["firstboot", "restore", "--list"])?.contains("nothing was set aside"));
    let none = bed.hosts[2].run(&["firstboot", "restore", "--rollback"])?;
    ensure!(none.code() == 3 && none.stderr.contains("nothing to return to"), "{none:?}");
    Ok(())
}
