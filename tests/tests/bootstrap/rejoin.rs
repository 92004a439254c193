//! A member that somebody removed by hand, and one that comes back from the dead after its replacement joined: both say
//! so and stop before etcd starts; `firstboot run --rejoin` brings one back.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::{process, run};

use crate::bed::{Bed, NEEDS, PATIENCE, listed, wait_refused};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("a_removed_member_and_one_back_from_the_dead_stop_and_one_rejoins", NEEDS, removed)]
}

fn removed() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.whole()?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    let still = bed.hosts[2].run(&["firstboot", "run", "--rejoin"])?;
    ensure!(still.code() == 3 && still.stderr.contains("still the member"), "{still:?}");

    let (old, _) = listed(&bed.hosts[0], "etcd-3")?.context("no etcd-3")?;
    // For five seconds after an election etcd calls its cluster unhealthy (server.go, HealthInterval).
    let end = Instant::now() + PATIENCE;
    while let Err(error) = etcdctl(&bed.hosts[0], &format!("member remove {old}")) {
        ensure!(Instant::now() < end, "{error:#}");
        sleep(Duration::from_secs(1));
    }
    bed.hosts[2].shutdown()?;
    bed.hosts[2].boot()?;
    wait_refused(&bed.hosts[2], &[&old, "somebody removed that from the cluster", "firstboot run --rejoin"])?;

    // Power is lost somewhere on the way back; its old data is there afterwards.
    bed.hosts[2].check(&["firstboot", "run", "--rejoin"])?;
    bed.hosts[2].wait_for("ls -d /var/lib/etcd/aside/removed-*", PATIENCE)?;
    bed.hosts[2].pull_the_plug()?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, PATIENCE)?;
    bed.hosts[2].check(&["sh", "-c", "ls -d /var/lib/etcd/aside/removed-*/member/wal"])?;
    let (new, _) = listed(&bed.hosts[0], "etcd-3")?.context("no etcd-3")?;
    ensure!(new != old, "it is the same member");

    // The disk of now is taken out, a new one joins in its place, and then the old one is put in again.
    bed.hosts[2].pull_the_plug()?;
    let kept = run::current()?.folder("kept")?;
    let disk = |host: &Host, to_host: bool| -> Result<()> {
        for name in ["firstboot", "etcd"] {
            let (inside, outside) = (host.path("/var/lib").join(name), kept.join(name));
            let (from, to) = if to_host { (&outside, &inside) } else { (&inside, &outside) };
            process::check("rm", &["-rf", &to.to_string_lossy()])?;
            process::check("cp", &["-a", &from.to_string_lossy(), &to.to_string_lossy()])?;
        }
        Ok(())
    };
    disk(&bed.hosts[2], false)?;
    bed.replace_disk(2)?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[0], 3, PATIENCE)?;
    let (third, _) = listed(&bed.hosts[0], "etcd-3")?.context("no etcd-3")?;
    bed.hosts[2].pull_the_plug()?;
    disk(&bed.hosts[2], true)?;
    bed.hosts[2].boot()?;
    wait_refused(&bed.hosts[2], &[&new, "somebody removed that from the cluster"])?;
    ensure!(listed(&bed.hosts[0], "etcd-3")?.is_some_and(|(id, _)| id == third), "it changed the member list");
    ensure!(etcdctl(&bed.hosts[0], "get answer --print-value-only")?.trim() == "42");

    // Nobody else has its place by now: it may have it.
    bed.hosts[2].check(&["firstboot", "run", "--rejoin"])?;
    wait_healthy(&bed.hosts[2], 3, PATIENCE).map(drop)
}
