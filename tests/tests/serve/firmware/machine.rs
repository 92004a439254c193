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
use tests::{cache, packages, run};

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
}

impl Loading {
    /// Returns text that identifies the dnsmasq configuration for this way in docs/serve.md.
    fn in_documents(self) -> &'static str {
        match self {
            Self::Rom | Self::Ipxe | Self::Http => "boot.ipxe",
            Self::Tftp => "lpxelinux.0",
        }
    }
}

fn ovmf() -> Result<PathBuf> {
    Ok(packages::unpacked("ovmf")?.join("usr/share/OVMF"))
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
        disk::make(&folder.join("disk"))?;
        fs::copy(ovmf()?.join("OVMF_VARS_4M.fd"), folder.join("vars"))?;
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

    /// Runs the machine until a condition is true for its console output and the server's output.
    /// Returns the console output.
    pub(super) fn run(
        &self,
        ours: &Provisioning,
        server: &Server,
        holds: impl Fn(&str, &str) -> bool,
    ) -> Result<String> {
        let console = self.folder.join("console");
        let tap = ours.network.world().name();
        if process::check("ip", &["-n", tap, "link", "show", "pxe0"]).is_err() {
            process::check("ip", &["-n", tap, "tuntap", "add", "pxe0", "mode", "tap"])?;
            process::check(
                "ip",
                &["-n", tap, "link", "set", "pxe0", "master", "br0", "up"],
            )?;
        }
        let mut qemu = ours.network.world().command("qemu-system-x86_64");
        qemu.args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-m",
            "768",
            "-nodefaults",
            "-display",
            "none",
        ]);
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
            let said = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
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
        let path = |name: &str| self.folder.join(name).display().to_string();
        match self.firmware {
            Firmware::Bios => qemu.args(["-machine", "q35,graphics=off"]),
            Firmware::Uefi => qemu.args(["-machine", "q35"]).args([
                "-drive",
                &format!(
                    "if=pflash,unit=0,format=raw,readonly=on,file={}/OVMF_CODE_4M.fd",
                    ovmf()?.display()
                ),
                "-drive",
                &format!("if=pflash,unit=1,format=raw,file={}", path("vars")),
                // Without this setting, the firmware first waits for an answer over IPv6.
                "-fw_cfg",
                "name=opt/org.tianocore/IPv6PXESupport,string=n",
            ]),
        };
        if self.loading == Loading::Http {
            // Otherwise the firmware tries PXE first.
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
            let rom = if self.firmware == Firmware::Uefi && !own_rom {
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

/// Returns the folder of the boot loaders, as docs/serve.md describes it: it is both the root of
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
        (
            "shim-signed",
            "usr/lib/shim/shimx64.efi.signed",
            "shimx64.efi",
        ),
    ] {
        let file = packages::unpacked(package)?.join(file);
        fs::copy(&file, folder.join(name))
            .with_context(|| format!("cannot copy {}", file.display()))?;
    }
    make_grub(&folder.join("grubx64.efi"))?;
    Ok(folder)
}

/// Makes grub with the modules that the scripts need. Debian's own signed grub does not include the
/// module `http`.
fn make_grub(path: &Path) -> Result<()> {
    let modules = packages::unpacked("grub-efi-amd64-bin")?.join("usr/lib/grub/x86_64-efi");
    let mut mkimage = Command::new(packages::unpacked("grub-common")?.join("usr/bin/grub-mkimage"));
    mkimage.args(["--format=x86_64-efi", "--prefix=/grub", "--directory"]);
    mkimage.arg(modules).arg("--output").arg(path);
    mkimage.args([
        "boot",
        "chain",
        "configfile",
        "echo",
        "efinet",
        "fat",
        "http",
        "linux",
        "minicmd",
        "net",
        "normal",
        "part_gpt",
        "part_msdos",
        "regexp",
        "search",
        "search_fs_file",
        "sleep",
        "smbios",
        "test",
        "tftp",
    ]);
    process::run(&mut mkimage)?.ok().map(drop)
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
