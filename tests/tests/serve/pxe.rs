//! A machine with an empty disk boots from its network card, by iPXE, into the installer; and once it was installed no more.

use std::fs::{self, File};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::Provisioning;
use tests::harness::{tail, trial};
use tests::need::Need;
use tests::process::{self, Tied};
use tests::{run, vm};

use crate::bed::{Server, built};

const NEEDS: &[Need] = &[Need::Root, Need::Network, Need::Pip, Need::Qemu, Need::Apt, Need::Dnsmasq, Need::Tun];
const MAC: &str = "52:54:0a:65:0f:65";
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("an_empty_machine_is_installed_from_the_network_once", NEEDS, once)]
}

/// In the place of anaconda's initramfs: says what is on its line, and fetches the kickstart as that would.
const INSTALLER: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys
/bin/busybox mount -t proc proc /proc
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net; do
    if [ -e /modules/$module.ko ]; then /bin/busybox insmod /modules/$module.ko; fi
done
/bin/busybox ip addr add 10.101.15.101/24 dev eth0
/bin/busybox ip link set eth0 up
read -r line < /proc/cmdline
echo \"on the line: $line\"
for word in $line; do
    case $word in inst.ks=*) url=${word#inst.ks=} ;; esac
done
/bin/busybox wget -q -O - --header 'X-RHN-Provisioning-MAC-0: eth0 52:54:0a:65:0f:65' \"$url\" | /bin/busybox head -1
echo 'the installer has come to its end'
/bin/busybox poweroff -f
";

fn once() -> Result<()> {
    let ours = built()?;
    let tree = run::current()?.folder("tree")?;
    let images = tree.join("images/pxeboot");
    fs::create_dir_all(&images)?;
    vm::installer(&images, INSTALLER)?;
    let server = Server::start(&ours, &["--tree", &tree.to_string_lossy(), "--append", "console=ttyS0"])?;
    let folder = run::current()?.folder("pxe")?;
    let _dhcp = dhcp(&ours, &folder)?;
    let world = ours.network.world().name();
    process::check("ip", &["-n", world, "tuntap", "add", "pxe0", "mode", "tap"])?;
    process::check("ip", &["-n", world, "link", "set", "pxe0", "master", "br0", "up"])?;

    let console = boots(&ours, &folder, &server, "the installer has come to its end", |console, _| {
        console.contains("the installer has come to its end")
    })?;
    let line = console.lines().find(|line| line.contains("on the line: ")).unwrap_or_default();
    ensure!(line.contains("inst.ks=http://10.101.15.1:8081/image/centos7.ks inst.ks.sendmac"), "{console}");
    ensure!(line.contains("inst.stage2=http://10.101.15.1:8081/tree/") && line.contains("console=ttyS0"), "{console}");
    ensure!(
        console.contains("CentOS 7.9, unattended, as an etcd node of demo.cluster.local"),
        "no kickstart:\n{console}"
    );
    let said = server.said()?;
    ensure!(
        said.contains("etcd-1: it is told to install") && said.contains("etcd-1: it takes the kickstart"),
        "{said}"
    );

    boots(&ours, &folder, &server, "it boots from its disk", |_, said| {
        said.contains("etcd-1: it was installed, and boots from its disk")
    })?;
    ensure!(
        server.said()?.matches("it is told to install").count() == 1,
        "it was installed twice:\n{}",
        server.said()?
    );
    Ok(())
}

/// Gives addresses, and says where iPXE goes on.
fn dhcp(ours: &Provisioning, folder: &Path) -> Result<Tied> {
    let mut dnsmasq = ours.network.world().command("dnsmasq");
    dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=br0", "--user=root"]);
    dnsmasq.args(["--dhcp-range=10.101.15.150,10.101.15.160", "--dhcp-boot=http://10.101.15.1:8081/boot.ipxe"]);
    dnsmasq.arg(format!("--dhcp-host={MAC},10.101.15.101"));
    dnsmasq.arg(format!("--dhcp-leasefile={}", folder.join("leases").display()));
    Tied::spawn(&dnsmasq, &File::create(folder.join("dnsmasq"))?)
}

/// Switches the machine on until something holds of its console and of what the server said.
fn boots(
    ours: &Provisioning,
    folder: &Path,
    server: &Server,
    what: &str,
    holds: impl Fn(&str, &str) -> bool,
) -> Result<String> {
    let path = folder.join("console");
    let mut qemu = ours.network.world().command("qemu-system-x86_64");
    qemu.args([
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-m",
        "768",
        "-no-reboot",
        "-nodefaults",
        "-display",
        "none",
    ]);
    qemu.args(["-machine", "graphics=off", "-serial", "stdio", "-boot", "n"]);
    qemu.args(["-netdev", "tap,id=n,ifname=pxe0,script=no,downscript=no"]);
    qemu.args(["-device", &format!("virtio-net-pci,netdev=n,mac={MAC}")]);
    let mut machine = Tied::spawn(&qemu, &File::create(&path)?)?;
    let end = Instant::now() + PATIENCE;
    loop {
        let console = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        if holds(&console, &server.said()?) {
            return Ok(console);
        }
        let over = machine.ended()?.is_some() || Instant::now() >= end;
        ensure!(!over, "not so: {what}; its console:\n{}\nthe server:\n{}", tail(&console, 40), server.said()?);
        sleep(Duration::from_millis(100));
    }
}
