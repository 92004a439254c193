//! Tests an update that changes a file that takes effect only at boot. The update reboots the node
//! while the node has the turn.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::OffReason;
use tests::repack::Repack;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS};
use crate::update::{build, is_at_rest};

const STATE: &str = "/var/lib/firstboot/update/state.json";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "an_update_reboots_the_node_and_a_failed_update_reboots_it_again",
        REQUIREMENTS,
        reboots,
    )]
}

fn reboots() -> Result<()> {
    let mut bed = Bed::unbuilt()?;
    build(&bed, "reboot = \"when-needed\"\n", &[])?;
    bed.install_up_to(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let kept = bed.provisioning.copy_output()?;

    release(&bed, 2, None)?;
    let check = bed.hosts[0].sh("firstboot update --check")?;
    ensure!(
        check
            .stdout
            .contains("needs a reboot to apply /etc/fstab\nreboots the node\n"),
        "--check says: {check:?}"
    );
    order(&bed)?;
    goes_down(&mut bed, "rebooting")?;
    bed.hosts[0].boot()?;
    ends(&bed, "\"end\":\"updated\",\"why\":\"\"", "# 2")?;

    // In the next image, etcd exits immediately. By the time etcd fails, the node has already
    // booted with that image's fstab, so the rollback reboots the node again.
    bed.provisioning.restore_output(&kept)?;
    release(&bed, 3, Some("#!/bin/sh\nexit 1\n"))?;
    order(&bed)?;
    goes_down(&mut bed, "rebooting")?;
    bed.hosts[0].boot()?;
    goes_down(&mut bed, "rebooting-back")?;
    bed.hosts[0].boot()?;
    ends(&bed, "\"end\":\"taken-back\"", "# 2")
}

/// Makes a release with a different fstab, and optionally a different etcd.
fn release(bed: &Bed, serial: u64, etcd: Option<&str>) -> Result<()> {
    let image = Repack::of(&bed.provisioning.out())?;
    let fstab = image.path("etc/fstab");
    let text = fs::read_to_string(&fstab)?;
    fs::write(fstab, format!("{text}# {serial}\n"))?;
    if let Some(etcd) = etcd {
        fs::write(image.path("usr/local/bin/etcd"), etcd)?;
    }
    image.pack(serial, &bed.provisioning.signing_key()?)
}

fn order(bed: &Bed) -> Result<()> {
    let update = "nohup firstboot update > /dev/null 2>&1 &";
    bed.hosts[0].sh(update)?.ok().map(drop)
}

/// Waits until the first node reboots by itself in this phase, and checks that it has the turn.
fn goes_down(bed: &mut Bed, phase: &str) -> Result<()> {
    let off = bed.hosts[0].wait_off(CONVERGENCE_TIMEOUT)?;
    ensure!(
        off == OffReason::Rebooted,
        "the node did not reboot: {off:?}"
    );
    let state = bed.hosts[0].read(STATE)?;
    ensure!(
        state.contains(&format!("\"phase\":\"{phase}\"")),
        "the phase is not {phase}: {state}"
    );
    let turn = etcdctl(&bed.hosts[1], "get /etcd-image/update/turn")?;
    ensure!(turn.contains("\"node\":\"etcd-1\""), "the turn: {turn}");
    Ok(())
}

/// Waits until the update has ended with this outcome and the first node is a member with this line
/// in its fstab.
fn ends(bed: &Bed, outcome: &str, line: &str) -> Result<()> {
    let host = &bed.hosts[0];
    host.wait_for(&format!("! test -e {STATE}"), CONVERGENCE_TIMEOUT)?;
    let said = host.read("/var/lib/firstboot/update/outcome.json")?;
    ensure!(said.contains(outcome), "{outcome} is not in {said}");
    ensure!(
        host.read("/etc/fstab")?.lines().last() == Some(line),
        "the last line of the fstab is not {line}"
    );
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    is_at_rest(host)
}
