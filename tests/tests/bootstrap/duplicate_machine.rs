//! Tests a clone that is booted while its node is running, and a second machine with the same node
//! document.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, boot_all, etcdctl, move_leadership, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::{client, etcd, process, programs};

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, copy, has_no_etcd, listed, wait_refused};
use crate::disasters::start_plain_etcd;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_second_machine_with_a_members_identity_is_refused",
            REQUIREMENTS,
            twin,
        ),
        trial(
            "a_clone_with_the_same_hardware_address_is_detected_by_the_others_traffic",
            REQUIREMENTS,
            cloned,
        ),
        trial(
            "a_clone_that_starts_with_its_original_does_not_join_beside_it",
            REQUIREMENTS,
            both_start_at_once,
        ),
        trial(
            "a_machine_that_receives_its_own_broadcasts_is_not_a_duplicate",
            REQUIREMENTS,
            echo,
        ),
        trial(
            "a_second_machine_is_found_although_the_first_arp_probe_is_lost",
            REQUIREMENTS,
            question_lost,
        ),
    ]
}

/// Boots a clone while its node is running. With plain etcd, the clone is the same member and votes
/// a second time. With firstboot, the clone finds the other machine at its own address before it
/// contacts any member, or recognises from its hardware that its disk belongs to a different
/// machine.
fn twin() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let before = listed(&bed.hosts[0], "etcd-3")?;
    let boots = bed.hosts[2].check(&["systemctl", "show", "--property=MainPID", "etcd.service"])?;

    // The twin has an empty disk and the same document.
    let mut twin = bed.twin("etcd-3")?;
    let mac = bed.hosts[2].link().mac.clone();
    twin.boot()?;
    wait_refused(
        &twin,
        &["another machine", &mac, "10.101.15.103", "[address-in-use]"],
    )?;
    has_no_etcd(&twin)?;
    ensure!(
        !twin.path("/var/lib/firstboot/journal").exists(),
        "firstboot accepted the document"
    );
    twin.cut_power()?;

    // At first, the twin does not receive ARP replies from the owner of the address, but the other
    // members report the owner.
    bed.provisioning.network.lose_first_arp_probe(twin.name())?;
    twin.boot()?;
    wait_refused(
        &twin,
        &["another machine", &mac, "10.101.15.103", "[address-in-use]"],
    )?;
    has_no_etcd(&twin)?;
    twin.cut_power()?;

    // The twin has a copy of the member's disk, and does not receive packets from the owner of the
    // address.
    for folder in ["/var/lib/firstboot", "/var/lib/etcd"] {
        copy(&bed.hosts[2].path(folder), &twin.path(folder))?;
    }
    divide(&bed, &twin)?;
    twin.boot()?;
    wait_refused(&twin, &["[machine-copied]", &mac])?;
    bed.provisioning.network.heal_all()?;
    // The twin keeps its copy of the disk, but the test removes the journal, so the twin has no
    // record of its machine.
    process::check(
        "rm",
        &[&twin.path("/var/lib/firstboot/journal").to_string_lossy()],
    )?;
    twin.check(&["systemctl", "restart", "--no-block", "firstboot.service"])?;
    wait_refused(&twin, &["another machine", &mac])?;
    twin.cut_power()?;
    // The twin's network namespace still exists, and the kernel answers ARP requests for the twin's
    // address until the twin is unplugged.
    bed.provisioning.network.unplug(twin.name())?;

    wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT)?;
    ensure!(
        listed(&bed.hosts[0], "etcd-3")? == before,
        "the member list has changed"
    );
    let now = bed.hosts[2].check(&["systemctl", "show", "--property=MainPID", "etcd.service"])?;
    ensure!(now == boots, "etcd-3 was restarted");
    two_quorums(&mut bed, &mut twin)
}

/// Runs plain etcd with a copy of a member's disk. If the network is partitioned, each half
/// contains one of the two copies, and each half has a quorum of the same cluster. Each half
/// acknowledges a different value for the same key.
fn two_quorums(bed: &mut Bed, twin: &mut Host) -> Result<()> {
    bed.cut_power()?;
    let client = start_plain_etcd(bed)?;
    bed.cut_power()?;
    for folder in ["/etc/etcd", "/var/lib/etcd", "/etc/systemd/system"] {
        copy(&bed.hosts[2].path(folder), &twin.path(folder))?;
    }
    divide(bed, twin)?;
    bed.provisioning.network.replug(twin.name())?;
    boot_all(&mut bed.hosts)?;
    twin.boot()?;
    let sides = [(0, "one"), (1, "two")].map(|(at, value)| (bed.hosts[at].address(), value));
    for (address, value) in sides {
        client::insist(|| client.put(address, "answer", value))
            .context("plain etcd does not have a quorum on each side")?;
    }
    for (address, value) in sides {
        let found = client::insist(|| client.all(address, "answer"))?;
        ensure!(
            found.get("answer").is_some_and(|own| own == value),
            "{address} reads {found:?}"
        );
    }
    twin.cut_power()
}

/// Partitions the network: etcd-1 reaches only etcd-3, and etcd-2 reaches only the twin.
fn divide(bed: &Bed, twin: &Host) -> Result<()> {
    bed.provisioning
        .network
        .partition(&["etcd-1", "etcd-3"], &["etcd-2", twin.name()])
}

/// The only member of a cluster has a twin with an empty disk. No other member can report the first
/// machine to the twin, and the first packet that asks for the address is lost. Only the repeated
/// probes in the background prevent the twin from bootstrapping the cluster a second time.
fn question_lost() -> Result<()> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&programs::demo(1, "", "")?)?;
    let mut host = provisioning.node("etcd-1")?;
    host.boot()?;
    wait_healthy(&host, 1, CONVERGENCE_TIMEOUT)?;
    etcdctl(&host, "put answer 42")?;

    let mut twin = provisioning.twin("etcd-1")?;
    provisioning.network.lose_first_arp_probe(twin.name())?;
    twin.boot()?;
    wait_refused(
        &twin,
        &["another machine", &host.link().mac, "10.101.15.101"],
    )?;
    has_no_etcd(&twin)?;
    let [asked, lost] = provisioning.network.arp_probes()?;
    ensure!(
        lost == 2 && asked > 2,
        "of {asked} ARP probes, {lost} were lost"
    );
    ensure!(etcdctl(&host, "get answer --print-value-only")?.trim() == "42");
    Ok(())
}

/// Reflects the node's own probe back to the node. The node's own kernel answers this probe, which
/// must not look like an answer of another machine.
fn echo() -> Result<()> {
    etcd::release(etcd::DEMO)?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&programs::demo(1, "", "")?)?;
    let mut host = provisioning.node("etcd-1")?;
    provisioning.network.reflect_broadcasts("etcd-1")?;
    host.boot()?;
    wait_healthy(&host, 1, CONVERGENCE_TIMEOUT)?;
    let said = host.journal("firstboot")?;
    ensure!(!said.contains("another machine"), "{said}");
    Ok(())
}

/// Boots a copy of a virtual machine, which has the same MAC address as the original. Because of
/// the equal MAC addresses, each machine also receives packets for the other machine, and neither
/// machine receives answers from the other machine. The copy's disk is empty, or contains the same
/// data as the original's disk. The only evidence is that the other members receive traffic from
/// this member while etcd on the copy is off. The test covers a follower and the leader.
fn cloned() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    let before = listed(&bed.hosts[0], "etcd-3")?.context("etcd-3 is not listed")?;
    let boots = bed.hosts[2].check(&["systemctl", "show", "--property=MainPID", "etcd.service"])?;

    let mut clone = bed.provisioning.clone_machine("etcd-3")?;
    etcd::replace_etcd_binary(&clone, &bed.version)?;
    for (empty, leader) in [(true, 0), (false, 0), (false, 2)] {
        bed.provisioning.network.unplug(clone.name())?;
        bed.wait_all_healthy()?;
        move_leadership(&bed.hosts, leader)?;
        if !empty {
            for folder in ["/var/lib/firstboot", "/var/lib/etcd"] {
                copy(&bed.hosts[2].path(folder), &clone.path(folder))?;
            }
        }
        bed.provisioning.network.replug(clone.name())?;
        clone.boot()?;
        wait_refused(
            &clone,
            &[
                "receives raft traffic from this node's member",
                "[duplicate-running]",
            ],
        )?;
        let etcd = clone.journal("etcd")?;
        ensure!(
            !etcd.contains("Starting"),
            "etcd was started on the copy:\n{etcd}"
        );
        clone.cut_power()?;
    }
    bed.provisioning.network.unplug(clone.name())?;

    bed.wait_all_healthy()?;
    ensure!(
        listed(&bed.hosts[0], "etcd-3")?.as_ref() == Some(&before),
        "the member list has changed"
    );
    let now = bed.hosts[2].check(&["systemctl", "show", "--property=MainPID", "etcd.service"])?;
    ensure!(now == boots, "etcd-3 was restarted");
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

/// Switches both machines on at the same time, so that neither machine finds the etcd of the other
/// machine. Each machine receives the other machine's probe.
fn both_start_at_once() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let mut clone = bed.provisioning.clone_machine("etcd-3")?;
    etcd::replace_etcd_binary(&clone, &bed.version)?;
    bed.hosts[2].cut_power()?;
    for folder in ["/var/lib/firstboot", "/var/lib/etcd"] {
        copy(&bed.hosts[2].path(folder), &clone.path(folder))?;
    }
    bed.hosts[2].boot()?;
    clone.boot()?;
    let mut refused = 0;
    for host in [&bed.hosts[2], &clone] {
        host.wait_for(
            "systemctl is-failed --quiet firstboot || systemctl is-active --quiet firstboot",
            2 * CONVERGENCE_TIMEOUT,
        )?;
        let failed = host
            .run(&["systemctl", "is-failed", "--quiet", "firstboot.service"])?
            .success();
        if failed {
            wait_refused(host, &["Switch off the machine that must not run"])?;
            refused += 1;
        }
    }
    ensure!(refused > 0, "both machines were started");

    // The operator has found out which machine is which.
    clone.cut_power()?;
    bed.provisioning.network.unplug(clone.name())?;
    bed.hosts[2].check(&["systemctl", "restart", "--no-block", "firstboot.service"])?;
    bed.wait_all_healthy()
}
