//! Tests complete installations in virtual machines with empty disks. The machines boot from the
//! network card, and fetch everything from the server.

mod bed;
mod cluster;
mod facts;
mod node;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::harness::{long, trial};
use tests::installer::UNPACKING;
use tests::repack::Repack;
use tests::requirement::Requirement;

use bed::Bed;

const REQUIREMENTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Curl,
    Requirement::Qemu,
    Requirement::Apt,
    Requirement::Dnsmasq,
    Requirement::Tun,
    Requirement::Squashfs,
    Requirement::Ssh,
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("vm_becomes_a_member_from_an_empty_disk", REQUIREMENTS, one),
        long(
            "vm_is_installed_after_a_power_cut_and_reboots_for_an_update",
            REQUIREMENTS,
            power_cut,
        ),
        long(
            "three_vms_form_a_cluster_and_a_blank_disk_returns_as_a_voter",
            REQUIREMENTS,
            cluster::a_blank_disk_returns_as_a_voter,
        ),
    ]
}

fn one() -> Result<()> {
    let mut bed = Bed::new(1)?;
    bed.nodes[0].power_on(&bed.ours)?;
    bed.wait("etcd-1: reports healthy", 1)?;
    let said = bed.server.output()?;
    for words in [
        "receives the installer, attempt 1 of 4",
        "downloads the kickstart",
        "reports started",
        "reports installing",
        "reports installed",
        "was installed, and boots from its disk",
    ] {
        let count = said.matches(&format!("etcd-1: {words}")).count();
        ensure!(count == 1, "{count} times `{words}`:\n{said}");
    }
    facts::check(&bed.ours, &bed.nodes[0])
}

/// Updates the machine to an image with another fstab. The machine reboots through its firmware and
/// the network, and then finishes the update.
fn reboots_for_an_update(bed: &mut Bed) -> Result<()> {
    let image = Repack::of(&bed.ours.out())?;
    let fstab = image.path("etc/fstab");
    let text = fs::read_to_string(&fstab)?;
    fs::write(fstab, format!("{text}# 2\n"))?;
    image.pack(2, &bed.ours.signing_key()?)?;
    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let boot = bed.nodes[0].shell(&bed.ours, boot_id)?;
    let update = "nohup firstboot update < /dev/null > /dev/null 2>&1 &";
    bed.nodes[0].shell(&bed.ours, update)?;
    bed.wait_for("grep '\"end\":\"updated\"' /var/lib/firstboot/update/outcome.json")?;
    ensure!(
        bed.nodes[0].shell(&bed.ours, boot_id)? != boot,
        "the machine did not reboot"
    );
    bed.wait_for("grep '^# 2$' /etc/fstab && etcdctl endpoint health")?;
    bed.wait("etcd-1: was installed, and boots from its disk", 2)
}

/// Cuts the power while the installer unpacks the packages.
fn power_cut() -> Result<()> {
    let mut bed = Bed::new(1)?;
    bed.nodes[0].power_on(&bed.ours)?;
    bed.wait_for_console(UNPACKING)?;
    sleep(Duration::from_secs(2));
    let said = bed.server.output()?;
    ensure!(
        !said.contains("etcd-1: reports installed"),
        "the installation ended before the test could interrupt it:\n{said}"
    );
    bed.nodes[0].cut_power();
    bed.nodes[0].power_on(&bed.ours)?;
    bed.wait("etcd-1: was installed, and boots from its disk", 1)?;
    let said = bed.server.output()?;
    ensure!(
        said.contains("etcd-1: receives the installer, attempt 2 of 4"),
        "{said}"
    );
    bed.wait("etcd-1: reports healthy", 1)?;
    reboots_for_an_update(&mut bed)
}
