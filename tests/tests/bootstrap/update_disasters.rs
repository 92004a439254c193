//! Tests failures of other nodes, of the network and of the releases while an image rolls through a
//! cluster. etcd must never be stopped on two nodes at the same time.

mod orders;
mod races;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{Client, Writers};
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::etcd;
use tests::harness::long;
use tests::host::Host;
use tests::programs::recipe;
use tests::repack::{self, Repack};

use self::orders::{OUTCOME, STATE, order, publish, wait_end, wait_phase};
use self::races::{deadline_passes_while_off, replaced_during_the_download};
use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS};
use crate::update::{all_have, bed, build_from, ends, is_at_rest, no_write_is_lost, update};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        long(
            "a_roll_continues_after_halts_partitions_losses_and_newer_releases",
            REQUIREMENTS,
            goes_on,
        ),
        long(
            "images_that_fail_late_or_cut_the_peers_off_are_rolled_back",
            REQUIREMENTS,
            fail_late,
        ),
        long(
            "an_interrupted_rollback_leaves_units_and_files_of_one_image",
            REQUIREMENTS,
            interrupted_rollback,
        ),
        long(
            "five_nodes_that_are_ordered_at_the_same_time_take_turns",
            REQUIREMENTS,
            five,
        ),
    ]
}

fn goes_on() -> Result<()> {
    let mut bed = bed()?;
    let first = bed.provisioning.copy_output()?;
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "roll/");
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;
    halted_in_the_middle(&bed)?;
    deadline_passes_while_off(&mut bed)?;
    overtaken(&bed)?;
    member_goes_down(&mut bed)?;
    holder_is_cut_off(&bed)?;
    let written = writers.stop()?;
    // Writers that use a disconnected member wait for their timeouts, so the test does not check
    // the longest gap between writes.
    for address in &addresses {
        written.kept_in(&tests::client::insist(|| client.all(*address, "roll/"))?)?;
    }
    none_overlap(&bed)?;
    holder_is_rebuilt(&mut bed, &first)?;
    replaced_during_the_download(&bed)?;
    all_have(&bed, etcd::DEMO)
}

/// An operator halts the roll after the first node.
fn halted_in_the_middle(bed: &Bed) -> Result<()> {
    publish(bed, 2)?;
    ends(&update(&bed.hosts[0], "")?, 0, &[])?;
    ends(&update(&bed.hosts[2], "--halt 'wait for Monday'")?, 0, &[])?;
    let halted = ["wait for Monday", "[update-halted]"];
    ends(&update(&bed.hosts[1], "--deadline 3")?, 4, &halted)?;
    is_at_rest(&bed.hosts[1])?;
    ends(&update(&bed.hosts[0], "--resume")?, 0, &[])
}

/// A newer release appears during the health check of the previous release on one node. The node
/// that waits for its turn installs the newer release, and the other two nodes follow.
fn overtaken(bed: &Bed) -> Result<()> {
    publish(bed, 3)?;
    order(&bed.hosts[1])?;
    wait_phase(&bed.hosts[1], "proving")?;
    // If the node left the cluster now, its updater would never release the turn.
    let leaves = bed.hosts[1].sh("firstboot leave")?;
    ends(&leaves, 4, &["[update-busy]"])?;
    // If one of the following commands stopped etcd now, the updater would roll back the image.
    for command in ["restore --rollback", "run --accept-data", "run --rejoin"] {
        let ran = bed.hosts[1].sh(&format!("firstboot {command}"))?;
        ends(&ran, 4, &["[update-busy]"])?;
    }
    publish(bed, 4)?;
    order(&bed.hosts[2])?;
    wait_phase(&bed.hosts[2], "waiting")?;
    for host in &bed.hosts[1..] {
        wait_end(host, "updated")?;
    }
    ensure!(
        bed.hosts[1].read("/etc/chrony.conf")? == "# 3\n",
        "etcd-2 did not install the image of its order"
    );
    for host in &bed.hosts[..2] {
        ends(&update(host, "")?, 0, &["has image 4"])?;
    }
    all_have(bed, etcd::DEMO)
}

/// While one node has the turn, another node goes down. The holder of the turn passes its health
/// check with the remaining quorum, and the next node waits until the lost node is back.
fn member_goes_down(bed: &mut Bed) -> Result<()> {
    publish(bed, 5)?;
    order(&bed.hosts[0])?;
    wait_phase(&bed.hosts[0], "proving")?;
    bed.hosts[2].cut_power()?;
    wait_end(&bed.hosts[0], "updated")?;
    ends(
        &update(&bed.hosts[1], "--deadline 5")?,
        4,
        &["etcd-3", "[update-not-healthy]"],
    )?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT)?;
    for host in &bed.hosts[1..] {
        ends(&update(host, "")?, 0, &[])?;
    }
    all_have(bed, etcd::DEMO)
}

/// A partition separates the holder of the turn from the other nodes. No other node begins its
/// update, even after an operator has released the turn.
fn holder_is_cut_off(bed: &Bed) -> Result<()> {
    publish(bed, 6)?;
    order(&bed.hosts[0])?;
    wait_phase(&bed.hosts[0], "proving")?;
    let network = bed.hosts[0].network();
    network.partition(&["etcd-1"], &["etcd-2", "etcd-3"])?;
    let waits = |id: &str| ends(&update(&bed.hosts[1], "--deadline 10")?, 4, &[id]);
    waits("etcd-1 has held the turn")?;
    ends(&update(&bed.hosts[2], "--break-turn etcd-1")?, 0, &[])?;
    waits("[update-not-healthy]")?;
    network.heal_all()?;
    wait_end(&bed.hosts[0], "updated")?;
    for host in &bed.hosts[1..] {
        ends(&update(host, "")?, 0, &[])?;
    }
    all_have(bed, etcd::DEMO)
}

/// A node whose disk is replaced during its turn returns with the newer image, releases its turn,
/// and has no update to install.
fn holder_is_rebuilt(bed: &mut Bed, first: &Path) -> Result<()> {
    publish(bed, 7)?;
    order(&bed.hosts[0])?;
    wait_phase(&bed.hosts[0], "exchanging")?;
    bed.hosts[0].cut_power()?;
    let turn = etcdctl(&bed.hosts[1], "get /etcd-image/update/turn")?;
    ensure!(turn.contains("\"node\":\"etcd-1\""), "the turn: {turn}");
    let newest = bed.provisioning.copy_output()?;
    let host = &mut bed.hosts[0];
    host.wipe()?;
    // The machine gets the newest image.
    bed.provisioning.restore_output(first)?;
    bed.provisioning.install(host)?;
    bed.provisioning.restore_output(&newest)?;
    repack::install(&newest, host)?;
    bed.provisioning.give_document(host, host.name())?;
    host.boot()?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    host.wait_for(
        "journalctl -u firstboot | grep -F 'before it was installed again; releasing the turn'",
        CONVERGENCE_TIMEOUT,
    )?;
    ends(&update(&bed.hosts[0], "")?, 0, &["already has image 7"])?;
    for host in &bed.hosts[1..] {
        ends(&update(host, "")?, 0, &[])?;
    }
    Ok(())
}

/// Checks in the systemd journals of all nodes that the updates did not overlap: each node passed
/// its health check before the next node stopped its etcd.
fn none_overlap(bed: &Bed) -> Result<()> {
    let mut spans = Vec::new();
    for host in &bed.hosts {
        let mut begun = None;
        for line in host.journal("firstboot-update")?.lines() {
            let at = line
                .trim_start_matches(['[', ' '])
                .split(']')
                .next()
                .and_then(|time| time.trim().parse::<f64>().ok());
            let Some(at) = at else { continue };
            if line.contains("stopping etcd") || line.contains("restoring the image") {
                begun.get_or_insert(at);
            } else if line.contains(" has image ") || line.contains("is a healthy member") {
                spans.extend(begun.take().map(|begun| (begun, at, host.name())));
            }
        }
    }
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    println!("{} turns: {spans:.1?}", spans.len());
    for pair in spans.windows(2) {
        ensure!(
            pair[0].1 <= pair[1].0,
            "two nodes were stopped at the same time: {pair:?}"
        );
    }
    ensure!(spans.len() > 2, "the journals show no turns");
    Ok(())
}

/// A function that changes an image so that the image fails its health check.
type Spoil = fn(&Repack) -> Result<()>;

/// Tests images whose etcd hangs, dies after it has been healthy, or cannot be reached by its
/// peers.
fn fail_late() -> Result<()> {
    let bed = bed()?;
    let kept = bed.provisioning.copy_output()?;
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "roll/");
    let spoil: [(&str, Spoil); 3] = [
        ("dies after it was healthy", |image| {
            // systemd kills etcd. A script could not kill etcd, because the system-call filter
            // forbids fork.
            let unit = image.path("etc/systemd/system/etcd.service");
            let text = fs::read_to_string(&unit)?;
            let text = text.replace("[Service]\n", "[Service]\nRuntimeMaxSec=8\n");
            Ok(fs::write(&unit, text)?)
        }),
        ("hangs", |image| {
            let script = "#!/bin/sh\nexec sleep 86400\n";
            Ok(fs::write(image.path("usr/local/bin/etcd"), script)?)
        }),
        ("is not reached by its peers", |image| {
            let zone = image.path("etc/firewalld/zones/etcd.xml");
            let text = fs::read_to_string(&zone)?;
            ensure!(text.contains("2380"), "the zone does not name 2380: {text}");
            // The member still reaches its peers, so etcd reports no fault.
            Ok(fs::write(&zone, text.replace("2380", "2399"))?)
        }),
    ];
    for (number, (what, spoil)) in spoil.into_iter().enumerate() {
        bed.provisioning.restore_output(&kept)?;
        let image = Repack::of(&bed.provisioning.out())?;
        spoil(&image).context(what)?;
        let serial = number as u64 + 2;
        image.pack(serial, &bed.provisioning.signing_key()?)?;
        let host = &bed.hosts[number];
        println!("an etcd that {what}");
        let failed = format!("the health check of image {serial} failed");
        ends(&update(host, "")?, 8, &[&failed, "was rolled back"]).context(what)?;
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT).context(what)?;
        is_at_rest(host).context(what)?;
        let next = &bed.hosts[(number + 1) % 3];
        ends(&update(next, "")?, 3, &["[update-failed-before]"]).context(what)?;
    }
    no_write_is_lost(writers, &client, &addresses)
}

/// A unit that does not stop until the test has created a file.
const UNIT: &str = "[Service]
ExecStart=/bin/sleep infinity
ExecStop=/bin/sh -c 'touch /run/own-stops; until test -e /run/own-may-stop; do sleep 0.1; done'

[Install]
WantedBy=multi-user.target
";

/// The test halts all updates, and kills the updater during a rollback, while the updater stops a
/// unit that the previous image does not have. The node must not keep the newer image without this
/// unit.
fn interrupted_rollback() -> Result<()> {
    let bed = bed()?;
    let host = &bed.hosts[0];
    let image = Repack::of(&bed.provisioning.out())?;
    fs::write(image.path("etc/systemd/system/own.service"), UNIT)?;
    image.pack(2, &bed.provisioning.signing_key()?)?;
    ends(&update(host, "")?, 0, &[])?;
    host.check(&["systemctl", "start", "own.service"])?;

    host.sh("nohup firstboot update --rollback --deadline 20 > /dev/null 2>&1 &")?
        .ok()?;
    host.wait_for("test -e /run/own-stops", CONVERGENCE_TIMEOUT)?;
    ends(&update(&bed.hosts[2], "--halt 'a freeze'")?, 0, &[])?;
    let kill = "systemctl kill --kill-who=main --signal=KILL firstboot-update.service";
    host.check(&["sh", "-c", &format!("{kill}; touch /run/own-may-stop")])?;
    host.wait_for(&format!("! test -e {STATE}"), CONVERGENCE_TIMEOUT)?;

    let has_unit = host.path("etc/systemd/system/own.service").exists();
    let is_active = host.run(&["systemctl", "is-active", "own.service"])?;
    ensure!(
        has_unit == is_active.success(),
        "the file exists: {has_unit}, but the unit is {}: {}",
        is_active.stdout.trim(),
        host.read(OUTCOME)?
    );
    ends(&update(&bed.hosts[2], "--resume")?, 0, &[])?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    is_at_rest(host)
}

/// Orders the update on all five nodes at the same time.
fn five() -> Result<()> {
    let mut bed = Bed::unbuilt()?;
    let mut text = fs::read_to_string(recipe("demo"))?;
    let end = text.find("[network]").context("no [network]")?;
    for number in [5, 4] {
        text.insert_str(
            end,
            &format!("[[node]]\nname = \"etcd-{number}\"\naddress = \"10.101.15.10{number}\"\n\n"),
        );
    }
    build_from(&bed, &text, "", &[])?;
    bed.install_up_to(5)?;
    boot_all(&mut bed.hosts)?;
    for host in &bed.hosts {
        wait_healthy(host, 5, CONVERGENCE_TIMEOUT)?;
    }
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "roll/");
    publish(&bed, 2)?;
    for host in &bed.hosts {
        order(host)?;
    }
    for host in &bed.hosts {
        wait_end(host, "updated")?;
    }
    no_write_is_lost(writers, &client, &addresses)?;
    none_overlap(&bed)?;
    all_have(&bed, etcd::DEMO)
}
