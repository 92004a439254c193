//! Tests real firmware. A machine boots from its network card into the installer. The boot loader
//! is iPXE (from the card's ROM, over TFTP or over HTTP), pxelinux, or shim with grub. After the
//! installation, the machine boots from its disk.

mod disk;
mod machine;

use std::cell::Cell;
use std::fs;

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use tests::cluster::Provisioning;
use tests::harness::long;
use tests::process::KillOnDrop;
use tests::requirement::Requirement;
use tests::vm::KERNEL_ARGUMENTS;
use tests::{run, vm};

use crate::bed::{SERVER, Server, allow, built, built_with, document_of, expect, get};
use machine::{Firmware, Loading, Machine, dhcp, loaders};

const REQUIREMENTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Curl,
    Requirement::Qemu,
    Requirement::Apt,
    Requirement::Dnsmasq,
    Requirement::Tun,
    Requirement::Fat,
];

pub(crate) fn trials() -> Vec<Trial> {
    // `make test` runs only one complete installation, of a machine with a BIOS (see `vm`), because
    // each additional machine takes minutes without KVM.
    vec![
        long("bios_installs_once_and_boots_its_disk", REQUIREMENTS, bios),
        long("uefi_installs_once_and_boots_its_disk", REQUIREMENTS, uefi),
        long("bios_loads_ipxe_by_tftp", REQUIREMENTS, bios_chained),
        long("bios_loads_pxelinux_by_tftp", REQUIREMENTS, bios_pxelinux),
        long("uefi_loads_grub_by_tftp", REQUIREMENTS, uefi_grub_tftp),
        long(
            "grub_boots_the_disk_if_the_server_is_down",
            REQUIREMENTS,
            uefi_without_server,
        ),
        long("uefi_loads_ipxe_by_http", REQUIREMENTS, uefi_ipxe_http),
        long(
            "secure_boot_loads_signed_grub_by_http",
            REQUIREMENTS,
            secure_boot,
        ),
        long("uefi_has_ipxe_in_its_network_card", REQUIREMENTS, uefi_rom),
        long("bios_reports_the_serial_number", REQUIREMENTS, bios_serial),
        long("uefi_reports_the_uuid", REQUIREMENTS, uefi_uuid),
        long(
            "bios_boots_from_its_second_network_card",
            REQUIREMENTS,
            bios_two_cards,
        ),
        long(
            "uefi_boots_from_its_second_network_card",
            REQUIREMENTS,
            uefi_two_cards,
        ),
        long(
            "a_power_cut_after_the_kickstart_is_retried_and_then_refused",
            REQUIREMENTS,
            power_cut,
        ),
        long(
            "an_expired_window_reinstalls_no_machine",
            REQUIREMENTS,
            window,
        ),
    ]
}

/// A replacement for anaconda's initramfs. The script prints its command line, fetches the
/// kickstart and sends the kickstart's reports, up to the stage that the test sets on the command
/// line.
const INSTALLER: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys
/bin/busybox mount -t proc proc /proc
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net; do
    if [ -e /modules/$module.ko ]; then /bin/busybox insmod /modules/$module.ko; fi
done
read -r line < /proc/cmdline
echo \"on the line: $line\"
last=installed
for word in $line; do
    case $word in
        inst.ks=*) url=${word#inst.ks=} ;;
        etcd-image.report=*) report=${word#etcd-image.report=} ;;
        BOOTIF=*) card=${word#BOOTIF=01-} ;;
        test.last=*) last=${word#test.last=} ;;
    esac
done
for interface in /sys/class/net/eth*; do
    /bin/busybox mount -t sysfs sysfs /sys 2>/dev/null
done
for interface in /sys/class/net/eth*; do
    name=${interface##*/}
    if [ \"$(/bin/busybox tr : - < $interface/address)\" = \"$card\" ]; then
        /bin/busybox ip addr add 10.101.15.101/24 dev $name
        /bin/busybox ip link set $name up
    fi
done
/bin/busybox wget -q -O - \"$url\" | /bin/busybox head -1
if [ $last = kickstart ]; then /bin/busybox reboot -f; fi
for stage in started installing installed; do
    /bin/busybox wget -q -O - --post-data \"stage=$stage\" \"$report\"
    if [ $last = $stage ]; then break; fi
done
echo 'the installer has come to its end'
/bin/busybox reboot -f
";

/// The maximum number of times that a machine is switched on until it sends a request.
const STARTS: u32 = 3;

/// Returns the tree from which machines are installed.
fn tree() -> Result<std::path::PathBuf> {
    let tree = run::current()?.folder("tree")?;
    let images = tree.join("images/pxeboot");
    fs::create_dir_all(&images)?;
    vm::installer(&images, INSTALLER)?;
    // The test's installer has no second stage, but the server accepts only a complete tree.
    fs::create_dir_all(tree.join("LiveOS"))?;
    fs::write(tree.join("LiveOS/squashfs.img"), "")?;
    Ok(tree)
}

/// A server for one machine, together with DHCP and TFTP as in docs/serve.md.
struct Bed {
    ours: Provisioning,
    server: Server,
    loaders: std::path::PathBuf,
}

impl Bed {
    /// Prepares the tree and the boot loaders, and starts the server with these additional options.
    fn new(ours: Provisioning, options: &[&str]) -> Result<Self> {
        let tree = tree()?.to_string_lossy().into_owned();
        let append: &[&str] = if options.contains(&"--append") {
            &[]
        } else {
            &["--append", KERNEL_ARGUMENTS]
        };
        let loaders = loaders()?;
        let folder = loaders.to_string_lossy().into_owned();
        let own = ["--tree", &tree, "--loaders", &folder];
        let server = Server::start(&ours, &[&own[..], append, options].concat())?;
        Ok(Self {
            ours,
            server,
            loaders,
        })
    }

    /// Starts DHCP and TFTP for a machine, and runs the machine until a condition is true for its
    /// console output and the server's output. On a busy host, the firmware can miss the answer from
    /// DHCP. It then boots the disk without any request to the server, and is switched on again.
    fn run(&self, machine: &Machine, holds: impl Fn(&str, &str) -> bool) -> Result<String> {
        let _dhcp: KillOnDrop = dhcp(&self.ours, &self.loaders, machine.loading)?;
        for _ in 0..STARTS {
            let (before, is_missed) = (self.server.output()?.len(), Cell::new(false));
            let console = machine.run(&self.ours, &self.server, |console, said| {
                is_missed.set(console.contains(disk::BOOTED) && said.len() == before);
                is_missed.get() || holds(console, said)
            })?;
            if !is_missed.get() {
                return Ok(console);
            }
            println!("the machine booted its disk without a request to the server");
        }
        bail!("the machine sent no request to the server in {STARTS} starts")
    }

    /// Runs a machine, and checks that it is installed exactly once and then boots from its disk.
    fn install_once(&self, machine: &Machine) -> Result<()> {
        let console = self.run(machine, |console, _| console.contains(disk::BOOTED))?;
        let said = self.server.output()?;
        let line = console
            .lines()
            .find(|line| line.contains("on the line: "))
            .unwrap_or_default();
        ensure!(
            line.contains("inst.ks=http://10.101.15.1:8081/image/centos7.ks?node=etcd-1"),
            "{console}"
        );
        ensure!(
            console.contains("the installer has come to its end"),
            "{console}"
        );
        ensure!(
            said.matches("receives the installer").count() == 1,
            "the machine was installed twice:\n{said}"
        );
        for words in [
            "downloads the kickstart",
            "reports started",
            "reports installed",
            "was installed, and boots from its disk",
        ] {
            ensure!(
                said.contains(&format!("etcd-1: {words}")),
                "{words}:\n{said}"
            );
        }
        let (_, board) = get(self.ours.network.world(), "")?;
        ensure!(
            board
                .lines()
                .any(|line| line.starts_with("etcd-1") && line.contains("installed")),
            "{board}"
        );
        Ok(())
    }
}

fn bios() -> Result<()> {
    Bed::new(built()?, &[])?.install_once(&Machine::new(Firmware::Bios)?)
}

fn uefi() -> Result<()> {
    Bed::new(built()?, &[])?.install_once(&Machine::new(Firmware::Uefi)?.loading(Loading::Ipxe))
}

fn bios_chained() -> Result<()> {
    Bed::new(built()?, &[])?.install_once(&Machine::new(Firmware::Bios)?.loading(Loading::Ipxe))
}

fn bios_pxelinux() -> Result<()> {
    let machine = Machine::new(Firmware::Bios)?.loading(Loading::Tftp);
    Bed::new(built()?, &[])?.install_once(&machine)
}

fn uefi_grub_tftp() -> Result<()> {
    let machine = Machine::new(Firmware::Uefi)?.loading(Loading::Tftp);
    Bed::new(built()?, &[])?.install_once(&machine)
}

/// grub fetches its first script by TFTP. The script requests the next script from a port on which
/// no server listens. The test reduces the script's eight attempts to one, which saves two minutes.
fn uefi_without_server() -> Result<()> {
    let bed = Bed::new(built()?, &[])?;
    let machine = Machine::new(Firmware::Uefi)?.loading(Loading::Tftp);
    let _dhcp = dhcp(&bed.ours, &bed.loaders, machine.loading)?;
    let first = bed.loaders.join("grub/grub.cfg");
    let script = fs::read_to_string(&first)?
        .replace(SERVER, "10.101.15.1:8082")
        .replace("in 1 2 3 4 5 6 7 8;", "in 1;");
    ensure!(
        script.contains("10.101.15.1:8082") && script.contains("in 1;"),
        "{script}"
    );
    fs::write(&first, script)?;
    machine.run(&bed.ours, &bed.server, |console, _| {
        console.contains(disk::BOOTED)
    })?;
    Ok(())
}

fn uefi_ipxe_http() -> Result<()> {
    let machine = Machine::new(Firmware::Uefi)?.loading(Loading::Http);
    Bed::new(built()?, &[])?.install_once(&machine)
}

/// Tests a machine with Secure Boot, whose firmware runs only programs that are signed with a
/// trusted key.
fn secure_boot() -> Result<()> {
    let machine = Machine::new(Firmware::SecureBoot)?.loading(Loading::GrubHttp);
    Bed::new(built()?, &[])?.install_once(&machine)?;
    let console = machine.console()?;
    ensure!(
        console.contains("Kernel is locked down from EFI Secure Boot"),
        "{console}"
    );
    Ok(())
}

fn uefi_rom() -> Result<()> {
    Bed::new(built()?, &[])?.install_once(&Machine::new(Firmware::Uefi)?)
}

/// Makes a bed whose recipe identifies the machine of etcd-1 only by this setting, and contains no
/// MAC address.
fn by_firmware(word: &str) -> Result<Bed> {
    Bed::new(
        built_with(|last| {
            if last == 101 {
                format!("{word}\n")
            } else {
                String::new()
            }
        })?,
        &[],
    )
}

fn bios_serial() -> Result<()> {
    let machine = Machine::new(Firmware::Bios)?.with(&["-smbios", "type=1,serial=SER 1/a"]);
    by_firmware("serial = \"SER 1/a\"")?.install_once(&machine)
}

fn uefi_uuid() -> Result<()> {
    let uuid = "4c4c4544-0042-3010-8052-b4c04f563232";
    let machine = Machine::new(Firmware::Uefi)?
        .loading(Loading::Ipxe)
        .with(&["-uuid", uuid]);
    by_firmware(&format!("uuid = \"{uuid}\""))?.install_once(&machine)
}

/// The machine's first network card is connected to a different network.
const TWO_CARDS: [&str; 2] = ["52:54:00:00:00:aa", machine::MAC];

fn bios_two_cards() -> Result<()> {
    Bed::new(built()?, &[])?.install_once(&Machine::new(Firmware::Bios)?.cards(&TWO_CARDS))
}

fn uefi_two_cards() -> Result<()> {
    Bed::new(built()?, &[])?.install_once(
        &Machine::new(Firmware::Uefi)?
            .loading(Loading::Ipxe)
            .cards(&TWO_CARDS),
    )
}

fn power_cut() -> Result<()> {
    let bed = Bed::new(
        built()?,
        &[
            "--retries",
            "1",
            "--append",
            &format!("{KERNEL_ARGUMENTS} test.last=kickstart"),
        ],
    )?;
    let machine = Machine::new(Firmware::Bios)?;
    let console = bed.run(&machine, |console, _| console.contains(disk::BOOTED))?;
    let said = bed.server.output()?;
    ensure!(
        said.contains("attempt 1 of 2") && said.contains("attempt 2 of 2"),
        "{said}"
    );
    ensure!(
        said.matches("etcd-1: downloads the kickstart").count() == 2 && said.contains("[held]"),
        "{said}"
    );
    ensure!(
        console.contains("etcd-1 is held after 2 attempts to install it"),
        "{console}"
    );
    allow(&bed.ours, &["etcd-1", "--install"])?;
    bed.run(&machine, |_, said| {
        said.matches("attempt 1 of 2").count() == 2
    })?;
    Ok(())
}

fn window() -> Result<()> {
    let bed = Bed::new(built()?, &["--open", "0"])?;
    let machine = Machine::new(Firmware::Bios)?;
    bed.install_once(&machine)?;
    // From here on, a host with the installed system replaces the machine.
    let one = bed.ours.network.add("etcd-1")?;
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    expect(
        &one.namespace,
        &document_of(&one.mac),
        403,
        "`builder allow etcd-1 --document`",
    )?;
    allow(&bed.ours, &["etcd-1", "--document"])?;
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    bed.ours.network.unplug("etcd-1")?;
    bed.run(&machine, |console, _| console.contains(disk::BOOTED))?;
    let said = bed.server.output()?;
    ensure!(
        said.matches("receives the installer").count() == 1,
        "`builder allow --document` reinstalled the machine:\n{said}"
    );
    Ok(())
}
