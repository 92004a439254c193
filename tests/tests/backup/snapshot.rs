//! Tests how a single snapshot is taken, and what can go wrong.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, check_snapshot, far, fill, list, names};
use crate::lost::lost_pages;

const OWN: &str = "/var/backups/etcd";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "an_existing_snapshot_is_good_and_a_failed_snapshot_leaves_no_files",
            REQUIREMENTS,
            all,
        ),
        trial(
            "a_snapshot_without_pages_that_its_member_lost_is_refused",
            REQUIREMENTS,
            lost,
        ),
    ]
}

fn lost() -> Result<()> {
    let mut bed = Bed::new(3, &far())?;
    bed.boot()?;
    lost_pages(&bed.hosts[0], bed.hosts[0].address())
}

/// Runs all steps on the same cluster. The state after each step is checked before the next step.
fn all() -> Result<()> {
    let mut bed = Bed::new(
        3,
        &format!(
            "{}\n[backup.keep]\nhourly = 1\ndaily = 0\nweekly = 0\nmonthly = 0",
            far()
        ),
    )?;
    bed.boot()?;
    let host = &bed.hosts[0];
    fill(host, 12)?;
    under_writes(host)?;
    pruned(host)?;
    read_only(host)?;
    host.check(&["mkdir", "/root/slow"])?;
    no_room(&bed)?;
    two_at_once(&bed)?;
    wrong_certificate(host)?;
    stopped(&bed)?;
    member_killed(&bed)?;
    silent(&bed)
}

fn under_writes(host: &Host) -> Result<()> {
    const WRITER: &str = ". /etc/profile.d/etcdctl.sh; i=0; while [ ! -e /root/stop ]; do i=$((i+1)); \
                          etcdctl put written/$i $i > /dev/null; done";
    let mut writer = host
        .command(&["sh", "-c", WRITER])?
        .spawn()
        .context("cannot start the writer")?;
    let outcome = (0..3).try_for_each(|nth| -> Result<()> {
        let path = format!("/root/under-writes-{nth}.db");
        host.check(&["firstboot", "snapshot", &path])?;
        check_snapshot(host, &path).map(drop)
    });
    host.write("/root/stop", "", 0o600)?;
    writer.wait()?;
    outcome?;
    host.check(&["firstboot", "snapshot"])?;
    let listed = list(host, OWN)?;
    ensure!(listed.len() == 1 && listed[0]["good"] == true, "{listed:?}");
    let name = listed[0]["name"].as_str().unwrap_or_default().to_owned();
    check_snapshot(host, &format!("{OWN}/{name}"))?;
    let again = host.run(&["firstboot", "snapshot", &format!("{OWN}/{name}")])?;
    ensure!(
        again.code() == 3 && again.stderr.contains("never replaces"),
        "{again:?}"
    );
    let status = host.run(&["firstboot", "status"])?.stdout;
    ensure!(
        status.contains(&name) && !status.contains("OVERDUE"),
        "{status}"
    );
    let any = host.check(&[
        "firstboot",
        "snapshot",
        "--from-any",
        "--json",
        "/root/any.db",
    ])?;
    let any: serde_json::Value = serde_json::from_str(&any)?;
    let leader = tests::cluster::status(host)?
        .into_iter()
        .find(|member| member.leader)
        .context("no member leads")?;
    let address = format!("10.101.15.10{}", leader.name.trim_start_matches("etcd-"));
    ensure!(
        !any["endpoint"]
            .as_str()
            .unwrap_or_default()
            .contains(&address),
        "the snapshot is from the leader {address}: {any}"
    );
    Ok(())
}

/// Checks that `prune` deletes the snapshots that are older than the newest good snapshot, and
/// keeps a damaged newer snapshot and a file that firstboot did not make.
fn pruned(host: &Host) -> Result<()> {
    host.sh(&format!(
        "cd {OWN} && for nth in 1 2; do firstboot snapshot; sleep 1; done; cp *.db /root/; cp /root/any.db ."
    ))?
    .ok()?;
    let newest = list(host, OWN)?;
    let newest = newest
        .iter()
        .filter(|one| one["good"] == true)
        .filter_map(|one| one["name"].as_str())
        .max();
    let newest = newest.context("there is no good snapshot")?.to_owned();
    // A newer snapshot that is incomplete does not count as the newest good snapshot.
    let torn = newest.replace("Z-", "Z-torn-").replacen("20", "21", 1);
    let tear = format!(
        "cd {OWN} && head -c 5000 {newest} > {torn} && sed 's/{newest}/{torn}/' {newest}.json > {torn}.json"
    );
    host.sh(&tear)?.ok()?;
    let would = host.check(&["firstboot", "snapshot", "prune", "--dry-run"])?;
    ensure!(
        would.lines().count() == 2 && !would.contains(&newest),
        "{would}"
    );
    let json = host.check(&["firstboot", "snapshot", "prune", "--json"])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(
        json["dry-run"] == false
            && json["removed"]
                .as_array()
                .is_some_and(|names| names.len() == 2),
        "{json}"
    );
    let mut left = names(host, OWN)?;
    left.sort();
    let mut expected = [
        "any.db".to_owned(),
        newest.clone(),
        format!("{newest}.json"),
        torn.clone(),
        format!("{torn}.json"),
    ];
    expected.sort();
    ensure!(left == expected, "{left:?} are left, expected {expected:?}");
    check_snapshot(host, &format!("{OWN}/{newest}")).map(drop)
}

/// Tests a disk that is too small from the start, and a disk that becomes full partway through.
fn no_room(bed: &Bed) -> Result<()> {
    let host = &bed.hosts[0];
    host.sh("mount -t tmpfs -o size=8m none /root/slow")?.ok()?;
    let small = host.run(&["firstboot", "snapshot", "/root/slow/"])?;
    ensure!(
        small.code() == 1 && small.stderr.contains("[disk-full]"),
        "{small:?}"
    );
    nothing_left(bed)?;
    host.check(&["mount", "-o", "remount,size=40m", "/root/slow"])?;
    let child = begin(bed, "etcd-2", "/root/slow/a.db")?;
    // Another program fills all the remaining space.
    host.sh("cat /dev/zero > /root/slow/other; true")?.ok()?;
    bed.provisioning.network.lift_rate_limit("etcd-1")?;
    let (code, said) = end(child)?;
    ensure!(
        code == Some(1) && said.contains("No space left on device"),
        "{code:?} {said}"
    );
    ensure!(names(host, "/root/slow")? == ["other"]);
    host.check(&["umount", "/root/slow"]).map(drop)
}

fn read_only(host: &Host) -> Result<()> {
    host.sh("mkdir /mnt/small && mount -t tmpfs -o ro none /mnt/small")?
        .ok()?;
    let refused = host.run(&["firstboot", "snapshot", "/mnt/small/"])?;
    ensure!(
        refused.code() == 1 && refused.stderr.contains("Read-only file system"),
        "{refused:?}"
    );
    host.check(&["umount", "/mnt/small"]).map(drop)
}

/// Starts a snapshot from another member, over a link that is slow enough to leave time for a
/// disturbance.
fn begin(bed: &Bed, from: &str, path: &str) -> Result<Child> {
    let host = &bed.hosts[0];
    bed.provisioning.network.limit_rate("etcd-1", "8mbit")?;
    let endpoint = format!(
        "https://{}:2379",
        bed.provisioning.network.link(from)?.address
    );
    let mut command = host.command(&["firstboot", "snapshot", "--endpoint", &endpoint, path])?;
    let child = command
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start firstboot")?;
    let folder = path.rsplit_once('/').context("the path has no folder")?.0;
    host.wait_for(
        &format!("[ -s {folder}/.firstboot-etcd-1.part ]"),
        CONVERGENCE_TIMEOUT,
    )?;
    Ok(child)
}

/// Waits until the process has ended. Returns its exit code and its error output.
fn end(child: Child) -> Result<(Option<i32>, String)> {
    let output = child.wait_with_output()?;
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

fn nothing_left(bed: &Bed) -> Result<()> {
    let left = names(&bed.hosts[0], "/root/slow")?;
    ensure!(left.is_empty(), "{left:?} is left");
    Ok(())
}

fn two_at_once(bed: &Bed) -> Result<()> {
    let host = &bed.hosts[0];
    let first = begin(bed, "etcd-2", "/root/slow/a.db")?;
    let second = host.run(&["firstboot", "snapshot", "/root/slow/b.db"])?;
    ensure!(
        second.code() == 4 && second.stderr.contains("another firstboot is writing"),
        "{second:?}"
    );
    bed.provisioning.network.lift_rate_limit("etcd-1")?;
    let (code, said) = end(first)?;
    ensure!(code == Some(0), "{said}");
    check_snapshot(host, "/root/slow/a.db")?;
    ensure!(names(host, "/root/slow")? == ["a.db", "a.db.json"]);
    host.sh("rm /root/slow/*")?.ok().map(drop)
}

/// Checks that firstboot takes no snapshot without a certificate that etcd trusts.
fn wrong_certificate(host: &Host) -> Result<()> {
    let swap = "cd /etc/etcd/tls && cp -p client.crt /root/client.crt && cp server.crt client.crt";
    host.sh(swap)?.ok()?;
    let refused = host.run(&["firstboot", "snapshot", "/root/wrong.db"])?;
    host.sh("cp -p /root/client.crt /etc/etcd/tls/client.crt")?
        .ok()?;
    ensure!(
        refused.code() != 0
            && !names(host, "/root")?
                .iter()
                .any(|name| name.contains("wrong")),
        "{refused:?}"
    );
    Ok(())
}

/// Tests ^C, and a kill that leaves firstboot no chance to clean up.
fn stopped(bed: &Bed) -> Result<()> {
    let host = &bed.hosts[0];
    let child = begin(bed, "etcd-2", "/root/slow/a.db")?;
    host.check(&["pkill", "-INT", "-x", "firstboot"])?;
    let (code, said) = end(child)?;
    ensure!(
        code == Some(130) && said.contains("interrupted; the partial files were removed"),
        "{code:?} {said}"
    );
    nothing_left(bed)?;

    let child = begin(bed, "etcd-2", "/root/slow/a.db")?;
    host.check(&["pkill", "-KILL", "-x", "firstboot"])?;
    end(child)?;
    ensure!(names(host, "/root/slow")? == [".firstboot-etcd-1.part"]);
    bed.provisioning.network.lift_rate_limit("etcd-1")?;
    host.check(&["firstboot", "snapshot", "/root/slow/b.db"])?;
    ensure!(names(host, "/root/slow")? == ["b.db", "b.db.json"]);
    host.sh("rm /root/slow/*")?.ok().map(drop)
}

fn member_killed(bed: &Bed) -> Result<()> {
    let child = begin(bed, "etcd-2", "/root/slow/a.db")?;
    bed.hosts[1].check(&["systemctl", "kill", "--signal=KILL", "etcd.service"])?;
    let (code, said) = end(child)?;
    bed.provisioning.network.lift_rate_limit("etcd-1")?;
    ensure!(
        code == Some(4) && said.contains("[snapshot-interrupted]"),
        "{code:?} {said}"
    );
    nothing_left(bed)?;
    // The cluster is still healthy after all these steps.
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    while let Err(error) = etcdctl(&bed.hosts[0], "put after all") {
        ensure!(Instant::now() < end, "{error:#}");
        sleep(Duration::from_millis(500));
    }
    wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// Stops one member partway through a snapshot while its connection stays open, and cuts the link
/// to another member. firstboot abandons both snapshots, and leaves no files behind.
fn silent(bed: &Bed) -> Result<()> {
    let host = &bed.hosts[0];
    host.check(&["mkdir", "/root/slow/other"])?;
    let stalled = begin(bed, "etcd-2", "/root/slow/a.db")?;
    let cut = begin(bed, "etcd-3", "/root/slow/other/a.db")?;
    bed.hosts[1].check(&["systemctl", "kill", "--signal=STOP", "etcd.service"])?;
    bed.provisioning.network.drop_between("etcd-1", "etcd-3")?;
    for child in [stalled, cut] {
        let (code, said) = end(child)?;
        ensure!(
            code == Some(4) && said.contains("sent nothing for 30 s"),
            "{code:?} {said}"
        );
    }
    bed.hosts[1].check(&["systemctl", "kill", "--signal=CONT", "etcd.service"])?;
    host.check(&["rmdir", "/root/slow/other"])?;
    nothing_left(bed)
}
