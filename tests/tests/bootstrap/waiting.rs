//! Tests that a waiting node names the members that it is waiting for, and that no event during the
//! wait splits the cluster in two.

use std::io::{Read as _, Write as _};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, has_no_etcd, wait_said};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "two_wait_for_the_third_through_a_partition_a_wrong_responder_and_a_new_disk",
            REQUIREMENTS,
            third_is_late,
        ),
        trial(
            "power_may_fail_at_any_moment_of_the_barrier",
            REQUIREMENTS,
            plug_pulled,
        ),
    ]
}

fn third_is_late() -> Result<()> {
    let mut bed = Bed::new(3)?;
    bed.hosts[0].boot()?;
    bed.hosts[1].boot()?;
    let lonely = ["etcd-3 has not answered since", "it never answered"];
    wait_said(&bed.hosts[0], &[&lonely[..], &["etcd-2 is empty"]].concat())?;
    wait_said(&bed.hosts[1], &[&lonely[..], &["etcd-1 is empty"]].concat())?;

    // The network between the first two nodes is cut and then restored.
    bed.provisioning.network.drop_between("etcd-1", "etcd-2")?;
    wait_said(
        &bed.hosts[0],
        &[
            "etcd-2 has not answered since",
            "last answered at",
            "with an empty disk",
        ],
    )?;
    bed.provisioning.network.heal_all()?;
    wait_said(&bed.hosts[0], &["etcd-2 is empty"])?;

    names_a_stranger(&bed)?;
    wait_said(&bed.hosts[0], &["etcd-3 has not answered since"])?;

    // The first node gets a new disk.
    bed.hosts[0].cut_power()?;
    bed.replace_disk(0)?;
    bed.hosts[0].boot()?;
    wait_said(
        &bed.hosts[0],
        &["etcd-2 is empty", "etcd-3 has not answered"],
    )?;
    for host in &bed.hosts[..2] {
        has_no_etcd(host)?;
        let lines = host
            .journal("firstboot")?
            .lines()
            .filter(|line| line.contains("waiting until"))
            .count();
        ensure!(
            lines < 20,
            "{} floods its console: {lines} lines",
            host.name()
        );
    }

    frugal(&bed.hosts[1])?;

    bed.hosts[2].boot()?;
    bed.wait_all_healthy()?;
    far_away(&bed)
}

/// Checks that firstboot reports a different program on a member's peer port.
fn names_a_stranger(bed: &Bed) -> Result<()> {
    let socket = bed.hosts[2].link().namespace.listen("10.101.15.103:2380")?;
    let stranger = std::thread::spawn(move || {
        while let Ok((mut stream, _)) = socket.accept() {
            let mut bytes = [0; 512];
            if stream
                .read(&mut bytes)
                .is_ok_and(|count| bytes[..count].starts_with(b"GET /stop"))
            {
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    wait_said(
        &bed.hosts[0],
        &["an unexpected program has answered on etcd-3's peer port since"],
    )?;
    let ask = [
        "--max-time",
        "2",
        "--silent",
        "http://10.101.15.103:2380/stop",
    ];
    let _ = tests::process::run(bed.provisioning.network.world().command("curl").args(ask));
    ensure!(stranger.join().is_ok(), "the stranger panicked");
    Ok(())
}

/// Checks that `firstboot status` suggests settings if a member is farther away than the recipe's
/// heartbeat allows.
fn far_away(bed: &Bed) -> Result<()> {
    let network = &bed.provisioning.network;
    network.add_latency("etcd-3", Duration::from_millis(120))?;
    let table = bed.hosts[0].check(&["firstboot", "status"])?;
    let advised: Vec<&str> = table
        .lines()
        .filter(|line| line.contains("set heartbeat-interval-ms = "))
        .collect();
    let [line] = advised.as_slice() else {
        bail!("status does not report the distant member:\n{table}")
    };
    ensure!(
        line.starts_with("etcd-3 ") && line.contains("(now 100 and 1000)"),
        "{table}"
    );
    let away = line
        .split_once(" ms: set heartbeat")
        .and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
    let away: u32 = away.with_context(|| format!("the table shows no round trip:\n{table}"))?;
    ensure!(away >= 240, "{table}");
    let asked = bed.hosts[2].check(&["firstboot", "status"])?;
    ensure!(
        asked.matches("[round-trip-long]").count() == 2,
        "the distant member does not report the other two members:\n{asked}"
    );
    network.remove_latency("etcd-3")?;
    bed.hosts[0].wait_for(
        "firstboot status > /tmp/status && ! grep -q round-trip-long /tmp/status",
        CONVERGENCE_TIMEOUT,
    )
}

/// Checks firstboot's peak memory during the wait, and prints firstboot's CPU time.
fn frugal(host: &Host) -> Result<()> {
    let pid = host.check(&[
        "systemctl",
        "show",
        "--property=MainPID",
        "--value",
        "firstboot.service",
    ])?;
    let status = host.check(&["cat", &format!("/proc/{}/status", pid.trim())])?;
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()
    });
    let peak: u64 = kib.context("no VmHWM")?;
    let time = host.check(&["ps", "-o", "etimes=,cputimes=", "-p", pid.trim()])?;
    println!(
        "firstboot used at most {peak} KiB while it waited; its running time and CPU time in seconds: {}",
        time.trim()
    );
    ensure!(peak <= 16 << 10, "{peak} KiB");
    Ok(())
}

fn plug_pulled() -> Result<()> {
    let mut bed = Bed::new(3)?;
    // The power is cut at different times, from before firstboot starts to after etcd has its data.
    // A host boots in about one second, and the hosts agree on a proposal about one second later.
    for round in 0..6_u32 {
        let victim = round as usize % 3;
        for host in &mut bed.hosts {
            host.boot()?;
        }
        sleep(Duration::from_millis(700 + 450 * u64::from(round)));
        bed.hosts[victim].cut_power()?;
        if round % 2 == 1 {
            bed.hosts[(victim + 1) % 3].cut_power()?;
        }
        for host in &mut bed.hosts {
            if !host.is_on()? {
                host.boot()?;
            }
        }
        bed.wait_all_healthy()?;
        for host in &mut bed.hosts {
            host.cut_power()?;
        }
        bed.forget_all()?;
    }
    Ok(())
}
