//! Tests the sources from which a node can get its document, except those that other modules test:
//! the seed folder (`lifecycle`), the seed disk (`refusals`), the clouds (`clouds`) and the
//! metadata disks (`disks`).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::Provisioning;
use tests::etcd;
use tests::harness::{tail, trial};
use tests::host::Host;
use tests::programs::recipe;
use tests::requirement::Requirement;
use tests::server::Fault;
use tests::vm::{self, Vm};

use crate::lifecycle::{ACCEPTED, REQUIREMENTS};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_node_finds_its_identity_in_a_file", REQUIREMENTS, file),
        trial(
            "a_node_finds_its_identity_on_the_kernels_command_line",
            REQUIREMENTS,
            cmdline,
        ),
        trial(
            "a_node_finds_its_identity_on_a_server_that_is_late",
            REQUIREMENTS,
            server,
        ),
        trial(
            "a_node_finds_its_identity_in_its_firmware",
            &[
                REQUIREMENTS,
                &[Requirement::Qemu, Requirement::Apt, Requirement::Xfs],
            ]
            .concat(),
            firmware,
        ),
    ]
}

/// Builds the demo's recipe with a metadata server added.
fn provisioned() -> Result<Provisioning> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("recipe.toml");
    let metadata = "\n[metadata]\nurl = \"http://10.101.15.1:8080/metadata/\"\n";
    fs::write(&path, fs::read_to_string(recipe("demo"))? + metadata)?;
    provisioning.build(&path)?;
    Ok(provisioning)
}

fn becomes_the_node(host: &mut Host) -> Result<()> {
    host.boot()?;
    host.wait_for(ACCEPTED, Duration::from_secs(180))
}

fn file() -> Result<()> {
    let ours = provisioned()?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&mut host)?;
    host.write(
        "/etc/firstboot/node.json",
        fs::read(ours.out().join("nodes/etcd-1/node.json"))?,
        0o600,
    )?;
    becomes_the_node(&mut host)
}

fn cmdline() -> Result<()> {
    let ours = provisioned()?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&mut host)?;
    let folder = ours.www().join("cmdline");
    fs::create_dir(&folder)?;
    fs::copy(
        ours.out().join("nodes/etcd-1/user-data"),
        folder.join("user-data"),
    )?;
    // A container's /proc/cmdline shows the test machine's command line; nspawn cannot replace this
    // file before systemd runs.
    host.write(
        "/root/cmdline",
        "ro quiet \"ds=nocloud;s=http://10.101.15.1:8080/cmdline/\"\n",
        0o644,
    )?;
    host.boot()?;
    host.wait_for(
        "journalctl -u firstboot | grep -q 'waiting for http'",
        Duration::from_secs(180),
    )?;
    host.check(&["mount", "--bind", "/root/cmdline", "/proc/cmdline"])?;
    host.check(&["systemctl", "restart", "--no-block", "firstboot"])?;
    host.wait_for(ACCEPTED, Duration::from_secs(180))?;
    ensure!(ours.server.requests_for("cmdline/user-data").len() == 1);
    Ok(())
}

fn server() -> Result<()> {
    let ours = provisioned()?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&mut host)?;
    let folder = ours.www().join("metadata");
    fs::create_dir(&folder)?;
    fs::copy(
        ours.out().join("nodes/etcd-1/node.json"),
        folder.join("node.json"),
    )?;
    ours.server
        .fault("metadata/node.json", Fault::StatusTimes(503, 2));
    becomes_the_node(&mut host)?;
    let asked = ours.server.requests_for("metadata/node.json");
    ensure!(asked.len() == 3, "{asked:?}");
    let query = asked[0].query.as_deref().unwrap_or_default();
    ensure!(
        query.contains("mac=52%3A54%3A0a%3A65%3A0f%3A65"),
        "the query does not identify the machine: {query}"
    );

    // On the second boot, the node makes no request, because it has already accepted its document.
    host.cut_power()?;
    becomes_the_node(&mut host)?;
    ensure!(ours.server.requests_for("metadata/node.json").len() == 3);
    Ok(())
}

/// A script that runs in place of systemd, and prints the output of three dry runs of firstboot:
/// with all of the firmware's data, without the OEM strings, and without QEMU's fw_cfg files.
const FIRMWARE: &str = "#!/bin/sh
export PATH=/usr/local/bin:/usr/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
exec > /root/said 2>&1
stat -c 'mode %a' /sys/firmware/dmi/entries/11-0/raw /sys/firmware/qemu_fw_cfg/by_name/opt/etcd-image/node.json/raw
firstboot run --dry-run
mount -t tmpfs none /sys/firmware/dmi/entries
firstboot run --dry-run
umount /sys/firmware/dmi/entries
mount -t tmpfs none /sys/firmware/qemu_fw_cfg
firstboot run --dry-run
exec busybox sh -c 'sync; reboot -f'
";

/// Tests the firmware of a virtual machine: an OEM string with the location of a document, and a
/// file in QEMU's fw_cfg, which here contains a different node's document.
fn firmware() -> Result<()> {
    let ours = provisioned()?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&mut host)?;
    let document = |node: &str| ours.out().join("nodes").join(node).join("node.json");
    let vm = Vm::new(&host.root(), 2 << 30, |root| {
        fs::copy(document("etcd-1"), root.join("root/node.json"))?;
        fs::copy(vm::busybox()?, root.join("usr/local/bin/busybox"))?;
        fs::write(root.join("root/firmware.sh"), FIRMWARE)?;
        Ok(fs::set_permissions(
            root.join("root/firmware.sh"),
            Permissions::from_mode(0o755),
        )?)
    })?;
    let stored = format!(
        "name=opt/etcd-image/node.json,file={}",
        document("etcd-2").display()
    );
    let words = [
        "-smbios",
        "type=11,value=vendor,value=firstboot.node=/root/node.json",
        "-fw_cfg",
        &stored,
    ];
    let vm = vm.with_arguments(&words.map(str::to_owned));
    vm.run(
        "init=/root/firmware.sh",
        (host.address(), &host.link().mac),
        Duration::from_secs(300),
    )?;
    let said = vm.mounted(|root| Ok(fs::read_to_string(root.join("root/said"))?));
    let said = said.with_context(|| {
        format!(
            "the machine printed nothing; its console:\n{}",
            tail(&vm.console(), 30)
        )
    })?;
    ensure!(
        said.matches("mode 400\n").count() == 2,
        "users other than root can read the file:\n{said}"
    );
    let found: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(" of cluster demo at "))
        .collect();
    ensure!(
        said.contains("two sources disagree: opt/etcd-image/node.json"),
        "{said}"
    );
    ensure!(
        found.len() == 2 && found[0].starts_with("etcd-2 ") && found[1].starts_with("etcd-1 "),
        "{said}"
    );
    Ok(())
}
