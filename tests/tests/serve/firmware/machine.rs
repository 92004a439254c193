//! A virtual machine with real firmware, and the network from which it boots.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Provisioning;
use tests::harness::tail;
use tests::process::{self, KillOnDrop};
use tests::{cache, packages, run, vm};

use super::disk;
use crate::bed::{SERVER, Server, expect};

/// etcd-1's MAC address.
pub(super) const MAC: &str = "52:54:0a:65:0f:65";
const VM_TIMEOUT: Duration = Duration::from_secs(420);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Firmware {
    /// SeaBIOS, which QEMU includes.
    Bios,
    /// OVMF.
    Uefi,
    /// OVMF with Secure Boot and Microsoft's keys.
    SecureBoot,
}

/// The way in which a machine loads the program that requests its boot script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loading {
    /// iPXE from the ROM of the network card.
    Rom,
    /// iPXE over TFTP.
    Ipxe,
    /// pxelinux over TFTP on BIOS, and shim with grub over TFTP on UEFI.
    Tftp,
    /// iPXE through UEFI's HTTP boot.
    Http,
    /// shim with grub through UEFI's HTTP boot.
    GrubHttp,
}

impl Loading {
    /// Returns text that identifies, in docs/serve.md, the dnsmasq configuration for this way of
    /// loading.
    fn in_documents(self) -> &'static str {
        match self {
            Self::Rom | Self::Ipxe | Self::Http => "boot.ipxe",
            Self::Tftp | Self::GrubHttp => "lpxelinux.0",
        }
    }
}

fn ovmf() -> Result<PathBuf> {
    Ok(packages::unpacked("ovmf")?.join("usr/share/OVMF"))
}

fn shim() -> Result<PathBuf> {
    Ok(packages::unpacked("shim-signed")?.join("usr/lib/shim/shimx64.efi.signed"))
}

/// Returns a signed grub of Debian 13. Debian 12's signed grub has no module `http`.
fn signed_grub(name: &str) -> Result<PathBuf> {
    let package = packages::unpacked_of_release("trixie", "grub-efi-amd64-signed")?;
    Ok(package.join("usr/lib/grub/x86_64-efi-signed").join(name))
}

/// A machine that is off.
#[derive(Debug)]
pub(super) struct Machine {
    folder: PathBuf,
    firmware: Firmware,
    pub(super) loading: Loading,
    /// The machine's network cards, in their order on the bus. Only the last network card is
    /// connected to the network.
    cards: Vec<String>,
    /// Additional QEMU arguments.
    more: Vec<String>,
}

impl Machine {
    /// Makes a machine that has an installed disk, one network card, and iPXE in the card's ROM.
    pub(super) fn new(firmware: Firmware) -> Result<Self> {
        let folder = run::current()?.folder("machine")?;
        let disk = folder.join("disk");
        let vars = if firmware == Firmware::SecureBoot {
            disk::make_signed(&disk, &shim()?, &signed_grub("grubx64.efi.signed")?)?;
            "OVMF_VARS_4M.ms.fd"
        } else {
            disk::make(&disk)?;
            "OVMF_VARS_4M.fd"
        };
        fs::copy(ovmf()?.join(vars), folder.join("vars"))?;
        Ok(Self {
            folder,
            firmware,
            loading: Loading::Rom,
            cards: vec![MAC.to_owned()],
            more: Vec::new(),
        })
    }

    /// Sets the way in which the machine loads its boot loader.
    pub(super) fn loading(mut self, loading: Loading) -> Self {
        self.loading = loading;
        self
    }

    /// Sets the network cards. The machine boots from the last card, which is connected to the
    /// network.
    pub(super) fn cards(mut self, cards: &[&str]) -> Self {
        self.cards = cards.iter().map(|card| (*card).to_owned()).collect();
        self
    }

    /// Adds QEMU arguments.
    pub(super) fn with(mut self, more: &[&str]) -> Self {
        self.more.extend(more.iter().map(|word| (*word).to_owned()));
        self
    }

    fn console_path(&self) -> PathBuf {
        self.folder.join("console")
    }

    /// Returns everything that the machine has printed since it was switched on.
    pub(super) fn console(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.console_path())?).into_owned())
    }

    /// Runs the machine until a condition is true for its console output and the server's output.
    /// Returns the console output.
    pub(super) fn run(
        &self,
        ours: &Provisioning,
        server: &Server,
        holds: impl Fn(&str, &str) -> bool,
    ) -> Result<String> {
        let console = self.console_path();
        let tap = ours.network.world().name();
        if process::check("ip", &["-n", tap, "link", "show", "pxe0"]).is_err() {
            process::check("ip", &["-n", tap, "tuntap", "add", "pxe0", "mode", "tap"])?;
            process::check(
                "ip",
                &["-n", tap, "link", "set", "pxe0", "master", "br0", "up"],
            )?;
        }
        let mut qemu = ours.network.world().command("qemu-system-x86_64");
        qemu.args(vm::EMULATION);
        qemu.args(["-m", "768", "-nodefaults", "-display", "none"]);
        qemu.args(["-serial", "stdio"]);
        let path = |name: &str| self.folder.join(name).display().to_string();
        self.add_firmware(&mut qemu)?;
        self.add_cards(&mut qemu);
        qemu.args([
            "-drive",
            &format!("if=none,id=d,format=raw,file={}", path("disk")),
        ]);
        qemu.args(["-device", "virtio-blk-pci,drive=d,bootindex=2"])
            .args(&self.more);
        let monitor = self.folder.join("monitor");
        qemu.args([
            "-monitor",
            &format!("unix:{},server,nowait", monitor.display()),
        ]);
        let mut machine = KillOnDrop::spawn(&qemu, &File::create(&console)?)?;
        let begun = Instant::now();
        let mut is_plugged = true;
        loop {
            let said = self.console()?;
            let output = server.output()?;
            // After a failed boot from the network, UEFI boots the disk, but first tries all other
            // protocols of the network card. Each protocol takes a minute unless the cable is
            // unplugged.
            if is_plugged && said.contains("failed to start Boot") {
                let cable = format!("set_link n{} off\n", self.cards.len() - 1);
                UnixStream::connect(&monitor)?.write_all(cable.as_bytes())?;
                is_plugged = false;
            }
            if holds(&said, &output) {
                return Ok(said);
            }
            let over = machine.ended()?.is_some() || begun.elapsed() >= VM_TIMEOUT;
            ensure!(
                !over,
                "its console:\n{}\nthe server:\n{output}",
                tail(&said, 60)
            );
            sleep(Duration::from_millis(100));
        }
    }

    fn add_firmware(&self, qemu: &mut Command) -> Result<()> {
        let is_secure = self.firmware == Firmware::SecureBoot;
        if self.firmware == Firmware::Bios {
            qemu.args(["-machine", "q35,graphics=off"]);
        } else {
            let code = if is_secure {
                "OVMF_CODE_4M.secboot.fd"
            } else {
                "OVMF_CODE_4M.fd"
            };
            qemu.args([
                "-drive",
                &format!(
                    "if=pflash,unit=0,format=raw,readonly=on,file={}",
                    ovmf()?.join(code).display()
                ),
                "-drive",
                &format!(
                    "if=pflash,unit=1,format=raw,file={}",
                    self.folder.join("vars").display()
                ),
                // Without this setting, the firmware first waits for an answer over IPv6.
                "-fw_cfg",
                "name=opt/org.tianocore/IPv6PXESupport,string=n",
            ]);
            // OVMF with Secure Boot stores its variables only from the processor's system
            // management mode (SMM).
            let machine = if is_secure { "q35,smm=on" } else { "q35" };
            qemu.args(["-machine", machine]);
        }
        if is_secure {
            qemu.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        }
        if matches!(self.loading, Loading::Http | Loading::GrubHttp) {
            // Without this setting, the firmware tries PXE first.
            qemu.args(["-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n"]);
        }
        Ok(())
    }

    fn add_cards(&self, qemu: &mut Command) {
        for (number, mac) in self.cards.iter().enumerate() {
            let is_last = number + 1 == self.cards.len();
            let backend = if is_last {
                "tap,ifname=pxe0,script=no,downscript=no".to_owned()
            } else {
                "user,restrict=on".to_owned()
            };
            qemu.args(["-netdev", &format!("{backend},id=n{number}")]);
            let own_rom = is_last && self.loading == Loading::Rom;
            let rom = if self.firmware != Firmware::Bios && !own_rom {
                ",romfile="
            } else {
                ""
            };
            let boots = if is_last { ",bootindex=1" } else { "" };
            qemu.args([
                "-device",
                &format!("virtio-net-pci,netdev=n{number},mac={mac}{boots}{rom}"),
            ]);
        }
    }
}

/// Returns the folder of the boot loaders. As in docs/serve.md, this folder is both the root of
/// TFTP and the folder for `--loaders`.
pub(super) fn loaders() -> Result<PathBuf> {
    let folder = run::current()?.folder("loaders")?;
    for (package, file, name) in [
        ("ipxe", "usr/lib/ipxe/undionly.kpxe", "undionly.kpxe"),
        ("ipxe", "usr/lib/ipxe/snponly.efi", "snponly.efi"),
        ("pxelinux", "usr/lib/PXELINUX/lpxelinux.0", "lpxelinux.0"),
        (
            "syslinux-common",
            "usr/lib/syslinux/modules/bios/ldlinux.c32",
            "ldlinux.c32",
        ),
    ] {
        copy(&packages::unpacked(package)?.join(file), &folder.join(name))?;
    }
    copy(&shim()?, &folder.join("shimx64.efi"))?;
    copy(
        &signed_grub("grubnetx64.efi.signed")?,
        &folder.join("grubx64.efi"),
    )?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {}", from.display()))
}

/// Starts dnsmasq with the lines from docs/serve.md, adapted to this network's addresses. The
/// server, which serves grub's first script, must already be running.
pub(super) fn dhcp(ours: &Provisioning, loaders: &Path, loading: Loading) -> Result<KillOnDrop> {
    let folder = run::current()?.folder("dhcp")?;
    fs::create_dir_all(loaders.join("grub"))?;
    let script = expect(ours.network.world(), "loaders/grub.cfg", 200, "configfile")?;
    fs::write(loaders.join("grub/grub.cfg"), script)?;
    let page = fs::read_to_string(cache::workspace().join("docs/serve.md"))?;
    let lines = page.split("```text\n").find_map(|block| {
        let block = block.split("```").next()?;
        (block.contains("dhcp-boot") && block.contains(loading.in_documents())).then_some(block)
    });
    let lines = lines.context("docs/serve.md does not contain the configuration")?;
    let own = lines
        .replace("10.0.0.5:8080", SERVER)
        .replace(
            "52:54:00:00:00:11,10.0.0.11",
            &format!("{MAC},10.101.15.101"),
        )
        .replace("10.0.0.100,10.0.0.200", "10.101.15.150,10.101.15.160")
        .replace("/srv/tftp", &loaders.to_string_lossy());
    ensure!(
        !own.contains("10.0.0."),
        "docs/serve.md has an address that the test does not replace:\n{own}"
    );
    let conf = folder.join("dnsmasq.conf");
    fs::write(&conf, own)?;
    let conf = format!("--conf-file={}", conf.display());
    process::check("dnsmasq", &["--test", &conf])?;
    let mut dnsmasq = ours.network.world().command("dnsmasq");
    dnsmasq.args([
        "--keep-in-foreground",
        "--port=0",
        "--interface=br0",
        "--user=root",
        "--log-facility=-",
        "--log-dhcp",
        &conf,
    ]);
    dnsmasq.arg(format!(
        "--dhcp-leasefile={}",
        folder.join("leases").display()
    ));
    KillOnDrop::spawn(&dnsmasq, &File::create(folder.join("log"))?)
}
