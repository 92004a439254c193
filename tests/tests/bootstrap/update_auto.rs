//! Tests nodes that install a newer image without an operator, during the time window that the
//! recipe sets for updates.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use recipes::ReleaseDocument;
use tests::cluster::boot_all;
use tests::etcd;
use tests::harness::trial;
use tests::host::Host;
use tests::repack::{self, Repack};

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS};
use crate::update::{all_have, build};

const LAST_CHECK: &str = "/var/lib/firstboot/update/look.json";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "nodes_update_themselves_one_after_the_other_in_their_window_only",
        REQUIREMENTS,
        rolls_in_the_window,
    )]
}

/// Returns a window that is closed in UTC, but open in a time zone that is 12 hours ahead.
fn window() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(format!(
        "window = \"{:02}:00 for 3 hours\"\n",
        (now / 3600 + 11) % 24
    ))
}

fn rolls_in_the_window() -> Result<()> {
    let mut bed = Bed::unbuilt()?;
    let auto = format!("mode = \"auto\"\n{}", window()?);
    build(&bed, &auto, &[])?;
    bed.install_up_to(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    for host in &bed.hosts {
        look_often(host)?;
    }

    let own = "[files.overlay]\n\"/etc/own/word\" = \"word\"\n";
    build(&bed, &format!("{auto}{own}"), &[("word", "one\n")])?;
    for host in &bed.hosts {
        let closed = format!("grep -F '[update-window]' {LAST_CHECK}");
        host.wait_for(&closed, CONVERGENCE_TIMEOUT)?;
    }
    let said = bed.hosts[1].check(&["firstboot", "status"])?;
    ensure!(
        said.contains("\nimage: 1\nupdate: this node does not install image 2: ")
            && said.ends_with("[update-window]\n"),
        "{said}"
    );
    // After several checks, each node still has its image, and no order is pending.
    std::thread::sleep(Duration::from_secs(5));
    for host in &bed.hosts {
        ensure!(
            !host.path("/etc/own").exists()
                && !host.path("/var/lib/firstboot/update/state.json").exists(),
            "{} started an update outside the window",
            host.name()
        );
    }

    for host in &bed.hosts {
        host.check(&[
            "ln",
            "-sf",
            "/usr/share/zoneinfo/Etc/GMT-12",
            "/etc/localtime",
        ])?;
    }
    for host in &bed.hosts {
        let updated = "grep -F '\"end\":\"updated\"' /var/lib/firstboot/update/outcome.json";
        host.wait_for(updated, CONVERGENCE_TIMEOUT)?;
        ensure!(
            host.read("/etc/own/word")? == "one\n",
            "{} has another file",
            host.name()
        );
    }
    all_have(&bed, etcd::DEMO)?;
    needs_installation(&bed)
}

/// Makes the timer for updates elapse every two seconds instead of every hour, and waits for a
/// check that finds no newer image.
fn look_often(host: &Host) -> Result<()> {
    let sooner = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nRandomizedDelaySec=0\n";
    let timer = host.check(&["systemctl", "is-active", "firstboot-update.timer"])?;
    ensure!(timer.trim() == "active", "the timer is {timer}");
    let path = "/etc/systemd/system/firstboot-update.timer.d/sooner.conf";
    host.write(path, sooner, 0o644)?;
    host.sh("systemctl daemon-reload && systemctl restart firstboot-update.timer")?
        .ok()?;
    // The test has not published a newer image yet.
    host.wait_for(
        &format!("grep '\"own\":1' {LAST_CHECK}"),
        CONVERGENCE_TIMEOUT,
    )?;
    let quiet = host.run(&["firstboot", "update", "--scheduled"])?;
    ensure!(
        quiet.code() == 0 && quiet.stdout.is_empty() && quiet.stderr.is_empty(),
        "a check that finds no newer image prints something: {quiet:?}"
    );
    Ok(())
}

/// Publishes an image with a different base. Checks that the node keeps its image, that its unit
/// does not fail, and that `status` shows the reason.
fn needs_installation(bed: &Bed) -> Result<()> {
    let own = repack::read(&bed.provisioning.out())?;
    let image = Repack::of(&bed.provisioning.out())?;
    fs::write(image.path("etc/own/word"), "two\n")?;
    let key = bed.provisioning.signing_key()?;
    image.pack(3, &key)?;
    let next = repack::read(&bed.provisioning.out())?;
    let mut base = own.base_parts;
    base.add("packages", ["vim".to_owned()]);
    let next = ReleaseDocument::new(next.cluster, 3, next.image, next.overlay, next.etcd, base);
    repack::write(&bed.provisioning.out(), &next, &key)?;
    let host = &bed.hosts[2];
    host.wait_for(
        "firstboot status | grep -F '[update-base]'",
        CONVERGENCE_TIMEOUT,
    )?;
    let status: serde_json::Value =
        serde_json::from_str(&host.check(&["firstboot", "status", "--json"])?)?;
    let update = &status["update"];
    ensure!(
        update["serial"] == 2
            && update["last"]["end"] == "updated"
            && update["reasons"][0]["id"] == "update-base",
        "{update}"
    );
    let failed = host.run(&["systemctl", "is-failed", "firstboot-auto-update"])?;
    ensure!(failed.code() != 0, "firstboot-auto-update failed");
    Ok(())
}
