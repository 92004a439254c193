//! Who waits for nobody makes the new data while etcd still runs. Whatever becomes of that, etcd lives on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, NEEDS, PATIENCE, token};
use crate::told::{SNAPSHOT, content};

const PROGRAM: &str = "/usr/local/bin/etcdutl";
const REAL: &str = "/usr/local/bin/etcdutl.real";
const IN_THE_MAKING: &str = "/var/lib/etcd/restore";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("etcd_outlives_what_becomes_of_the_data_made_ahead", NEEDS, all)]
}

/// Has the image's etcdutl do something else, or the real thing again.
fn etcdutl(host: &Host, script: Option<&str>) -> Result<()> {
    let (program, real) = (host.path(PROGRAM), host.path(REAL));
    match script {
        Some(script) => {
            fs::rename(&program, &real)?;
            fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
            Ok(fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?)
        }
        None => Ok(fs::rename(&real, &program)?),
    }
}

fn all() -> Result<()> {
    let mut bed = Bed::with_etcd("3.5.1", 3)?;
    // Its recipe has three members; the one that is left is told so.
    for host in &mut bed.hosts {
        host.boot()?;
    }
    bed.whole()?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    etcdctl(&bed.hosts[0], &format!("snapshot save {SNAPSHOT}"))?;
    bed.hosts[0].check(&["firstboot", "restore", "--list"])?;
    for host in &mut bed.hosts[1..] {
        host.pull_the_plug()?;
    }
    bed.hosts[0].check(&["firstboot", "restore", SNAPSHOT, "--solo"])?;
    let host = &mut bed.hosts[0];
    wait_healthy(host, 1, PATIENCE)?;
    etcdctl(host, "put answer 43")?;
    let (before, first) = (content(host)?, token(host)?);
    let as_before = |host: &Host| -> Result<()> {
        wait_healthy(host, 1, PATIENCE)?;
        ensure!(content(host)? == before && token(host)? == first, "it is not as it was");
        Ok(())
    };

    // It fails, and leaves half of its work.
    let half = format!("{REAL} \"$@\"; find {IN_THE_MAKING} -name db -exec truncate -s 5000 {{}} ';'; exit 7");
    etcdutl(host, Some(&half))?;
    let running = host.check(&["systemctl", "show", "-p", "MainPID", "etcd"])?;
    let failed = host.run(&["firstboot", "restore", SNAPSHOT, "--solo"])?;
    ensure!(failed.code() == 1 && failed.stderr.contains("etcd was not stopped"), "{failed:?}");
    ensure!(host.check(&["systemctl", "show", "-p", "MainPID", "etcd"])? == running, "etcd was stopped");
    ensure!(!host.path(IN_THE_MAKING).exists(), "half of the new data is left");
    as_before(host)?;
    etcdutl(host, None)?;

    // The power is cut while it works, and when it is through.
    for script in [format!("{REAL} \"$@\" & sleep 0.2; kill -STOP $!"), format!("{REAL} \"$@\"")] {
        etcdutl(host, Some(&format!("{script}; touch /root/there; exec sleep 1000")))?;
        let mut command = host.command(&["firstboot", "restore", SNAPSHOT, "--solo"])?;
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start it")?;
        host.wait_for("[ -e /root/there ]", PATIENCE)?;
        host.pull_the_plug()?;
        child.wait()?;
        fs::remove_file(host.path("/root/there"))?;
        etcdutl(host, None)?;
        host.boot()?;
        as_before(host)?;
    }

    // And when it was told: the next boot ends it. What the cut ones left is in nobody's way.
    let told = |host: &Host| fs::read_to_string(host.path("/var/lib/firstboot/journal")).unwrap_or_default();
    let count = told(host).matches("\"event\":\"told\"").count();
    let mut command = host.command(&["firstboot", "restore", SNAPSHOT, "--solo"])?;
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start it")?;
    let end = Instant::now() + PATIENCE;
    while told(host).matches("\"event\":\"told\"").count() == count {
        ensure!(Instant::now() < end, "nobody was told");
        sleep(Duration::from_millis(1));
    }
    host.pull_the_plug()?;
    child.wait()?;
    host.boot()?;
    wait_healthy(host, 1, PATIENCE)?;
    let restored = token(host)? != first;
    println!("cut when it was told: {}", if restored { "restored" } else { "as it was" });
    ensure!((etcdctl(host, "get answer --print-value-only")?.trim() == "42") == restored);
    ensure!(!host.path(IN_THE_MAKING).exists(), "what was made is left");
    Ok(())
}
