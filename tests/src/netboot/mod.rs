//! Virtual machines with empty disks that are installed from the network.
//!
//! Unlike [`crate::vm::Vm`], a [`Machine`] has its own firmware, boot loader and partitions. The
//! machine boots from the network first, and fetches everything from the network. The machine's
//! installer is [`crate::installer::install_this_machine`], which runs under systemd in a Debian
//! root file system.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::base::hex;
use crate::network::Network;
use crate::process::KillOnDrop;
use crate::{base, cache, installer, packages, process, run, vm};

const TREE: &str = include_str!("tree.sh");
const INIT: &str = include_str!("init.sh");

/// The memory of each machine, in MiB. The installer keeps its own root file system in this memory.
const MEMORY_MIB: u32 = 1536;

/// The lines of dnsmasq's configuration that shorten the start of iPXE by 15 s. Without these
/// lines, iPXE waits for a proxy DHCP server and for an IPv6 router, and uses the whole CPU while
/// it waits. The first line is the option `no-pxedhcp`. The other lines announce an IPv6 prefix,
/// but no default route.
const SHORT_WAITS: &str = "dhcp-option=encap:175,176,1b\nenable-ra\nra-param=br0,60,0\n\
                           dhcp-range=::,constructor:br0,ra-only\n";

/// The kernel's last message before it reboots the machine.
const REBOOTS: &str = "reboot: machine restart";

/// Makes an installation tree whose installer runs the program `anaconda`.
pub fn tree(anaconda: &Path) -> Result<PathBuf> {
    let folder = run::current()?.folder("tree")?;
    installer::write_tree(&folder, &installer::PACKAGES)?;
    let images = images(anaconda)?;
    for path in installer::IMAGES {
        let path = Path::new(path);
        fs::remove_file(folder.join(path))?;
        // Make a hard link, because the server does not follow symbolic links.
        fs::hard_link(images.join(path), folder.join(path))
            .with_context(|| format!("cannot link {}", path.display()))?;
    }
    Ok(folder)
}

/// Returns the cached folder with a tree's images, and makes it if it is missing.
fn images(anaconda: &Path) -> Result<PathBuf> {
    let mut key = Sha256::new();
    for part in [TREE.as_bytes(), INIT.as_bytes(), &fs::read(anaconda)?] {
        key.update(part);
    }
    let key = hex(&key.finalize());
    cache::entry(&format!("netboot-{}", &key[..12]), |folder| {
        let work = tempfile::tempdir()?;
        let init = work.path().join("init");
        fs::write(&init, INIT)?;
        let program = work.path().join("anaconda");
        process::check(
            "strip",
            &[
                "-o",
                &program.to_string_lossy(),
                &anaconda.to_string_lossy(),
            ],
        )?;
        let mut bash = Command::new("bash");
        bash.args(["-c", TREE, "tree.sh"])
            .arg(folder)
            .arg(base::base()?)
            .arg(vm::kernel_package()?)
            .arg(packages::unpacked("grub-pc-bin")?)
            .arg(packages::unpacked("grub-common")?)
            .arg(vm::busybox()?)
            .arg(&init)
            .arg(&program);
        process::run(&mut bash)?.ok().map(drop)
    })
}

/// A machine. It is off until [`Machine::power_on`], and its disk is empty at first.
#[derive(Debug)]
pub struct Machine {
    folder: PathBuf,
    name: String,
    mac: String,
    disk_bytes: u64,
}

impl Machine {
    /// Makes a machine with this MAC address.
    pub fn new(name: &str, mac: &str, disk_bytes: u64) -> Result<Self> {
        let machine = Self {
            folder: run::current()?.folder(name)?,
            name: name.to_owned(),
            mac: mac.to_owned(),
            disk_bytes,
        };
        machine.blank()?;
        // The harness prints the consoles after a failure.
        let console = run::current()?.consoles().join(format!("{name}.vm"));
        File::create(&console)?;
        symlink(&console, machine.console_path())?;
        Ok(machine)
    }

    /// Replaces the disk with an empty disk.
    pub fn blank(&self) -> Result<()> {
        let disk = self.folder.join("disk");
        let _ = fs::remove_file(&disk);
        File::create(&disk)?
            .set_len(self.disk_bytes)
            .context("cannot make the disk")
    }

    fn console_path(&self) -> PathBuf {
        self.folder.join("console")
    }

    /// Returns everything that the machine has printed since it was switched on.
    pub fn console(&self) -> String {
        console(&self.console_path())
    }

    /// Switches the machine on.
    pub fn power_on(&self, network: &Network) -> Result<Running> {
        let world = network.world().name();
        let tap = format!("vm-{}", self.name);
        if process::check("ip", &["-n", world, "link", "show", &tap]).is_err() {
            process::check("ip", &["-n", world, "tuntap", "add", &tap, "mode", "tap"])?;
            process::check(
                "ip",
                &["-n", world, "link", "set", &tap, "master", "br0", "up"],
            )?;
        }
        let mut qemu = network.world().command("qemu-system-x86_64");
        qemu.args(["-machine", "q35,graphics=off", "-nodefaults"]);
        qemu.args(vm::EMULATION);
        // There is only one CPU, because QEMU then emulates atomic instructions with less work, and
        // because Linux then reads the time from the CPU and not from a device.
        qemu.args(["-smp", "1", "-m", &MEMORY_MIB.to_string()]);
        qemu.args(["-display", "none", "-serial", "stdio", "-no-reboot"]);
        qemu.args([
            "-netdev",
            &format!("tap,id=n,ifname={tap},script=no,downscript=no"),
            "-device",
            &format!("virtio-net-pci,netdev=n,mac={},bootindex=1", self.mac),
        ]);
        let disk = self.folder.join("disk");
        qemu.args([
            "-drive",
            &format!(
                "if=none,id=d,format=raw,cache=unsafe,discard=unmap,file={}",
                disk.display()
            ),
            "-device",
            "virtio-blk-pci,drive=d,bootindex=2",
        ]);
        let console = File::create(self.console_path())?;
        Ok(Running {
            process: KillOnDrop::spawn(&qemu, &console)?,
            qemu,
            console,
            path: self.console_path(),
        })
    }
}

/// A machine that is switched on. The machine's power is cut when this value is dropped.
///
/// QEMU ends when the machine reboots, and [`Running::is_on`] starts a new QEMU process. In a new
/// process, grub needs 3 s of CPU time to load the kernel. If the old process continued, grub would
/// need 20 to 50 s, because it would overwrite memory whose code QEMU has already translated.
#[derive(Debug)]
pub struct Running {
    qemu: Command,
    console: File,
    path: PathBuf,
    process: KillOnDrop,
}

impl Running {
    /// Returns whether the machine is on. If the machine is rebooting, starts QEMU again.
    pub fn is_on(&mut self) -> Result<bool> {
        if self.process.ended()?.is_none() {
            return Ok(true);
        }
        let reboots = console(&self.path).trim_end().ends_with(REBOOTS);
        if reboots {
            self.process = KillOnDrop::spawn(&self.qemu, &self.console)?;
        }
        Ok(reboots)
    }
}

fn console(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Starts DHCP for machines with these MAC and IP addresses. The machines load this boot script
/// with iPXE.
pub fn dhcp(network: &Network, machines: &[(&str, &str)], script: &str) -> Result<KillOnDrop> {
    let folder = run::current()?.folder("dhcp")?;
    let world = network.world().name();
    process::check(
        "ip",
        &[
            "-n",
            world,
            "addr",
            "add",
            "fd0a:650f::1/64",
            "dev",
            "br0",
            "nodad",
        ],
    )?;
    let mut conf = format!(
        "dhcp-option=option:router,10.101.15.1\ndhcp-range=10.101.15.150,10.101.15.160\ndhcp-match=set:ipxe,175\ndhcp-boot=tag:ipxe,{script}\n{SHORT_WAITS}"
    );
    for (mac, address) in machines {
        let _ = writeln!(conf, "dhcp-host={mac},{address}");
    }
    let path = folder.join("dnsmasq.conf");
    fs::write(&path, conf)?;
    let mut dnsmasq = network.world().command("dnsmasq");
    dnsmasq.args(["--keep-in-foreground", "--port=0", "--interface=br0"]);
    dnsmasq.args(["--user=root", "--log-facility=-"]);
    dnsmasq.arg(format!("--conf-file={}", path.display()));
    dnsmasq.arg(format!(
        "--dhcp-leasefile={}",
        folder.join("leases").display()
    ));
    let mut dnsmasq = KillOnDrop::spawn(&dnsmasq, &File::create(folder.join("log"))?)?;
    ensure!(dnsmasq.ended()?.is_none(), "dnsmasq does not start");
    Ok(dnsmasq)
}
