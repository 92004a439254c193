//! A virtual machine. Unlike a host in namespaces, a virtual machine has SELinux, and its own
//! kernel with separate memory and settings.
//!
//! The machine runs in QEMU without KVM, and is therefore about ten times slower than the machine
//! that runs the tests. The root is an XFS file system made from a folder. The kernel is Debian's
//! cloud kernel, which is downloaded but not installed.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sha2::{Digest as _, Sha256};

use crate::base::hex;
use crate::disk::Disk;
use crate::harness::tail;
use crate::process::KillOnDrop;
use crate::{cache, packages, process, run};

/// The kernel's metapackage; its only dependency is the package that contains the kernel.
const KERNEL: &str = "linux-image-cloud-amd64";
const INIT: &str = include_str!("init.sh");
/// The QEMU arguments that select emulation. KVM is not used, because a machine can offer /dev/kvm
/// although its guests do not start. The CPU model has few features, because programs would use the
/// vector instructions of a larger model, and the emulation of vector instructions is slow.
pub const EMULATION: [&str; 4] = ["-accel", "tcg,thread=multi", "-cpu", "qemu64"];

/// The kernel arguments of an emulated machine. If the host is busy, the machine misses timer
/// interrupts. Without `no_timer_check`, the machine's kernel then panics with "IO-APIC + timer
/// doesn't work".
pub const KERNEL_ARGUMENTS: &str = "console=ttyS0 no_timer_check";

/// A machine that is switched off, with its own disk.
#[derive(Debug)]
pub struct Vm {
    disk: Disk,
    folder: PathBuf,
    /// The QEMU arguments that limit the speed of the disk.
    throttle: String,
    /// Additional QEMU arguments.
    more: Vec<String>,
}

impl Vm {
    /// Makes a machine with a disk of this many bytes. The disk is an XFS file system with a copy
    /// of the folder `root`. `prepare` changes the copy while the disk is mounted.
    pub fn new(root: &Path, bytes: u64, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let disk = Disk::xfs(bytes, "root")?;
        let vm = Self {
            disk,
            folder: run::current()?.folder("vm")?,
            throttle: String::new(),
            more: Vec::new(),
        };
        vm.mounted(|folder| {
            let from = format!("{}/.", root.display());
            process::check(
                "cp",
                &[
                    "--archive",
                    "--one-file-system",
                    &from,
                    &folder.to_string_lossy(),
                ],
            )?;
            prepare(folder)
        })?;
        Ok(vm)
    }

    /// Limits writes to the disk to this many bytes per second.
    #[must_use]
    pub fn with_slow_disk(mut self, bytes: u64) -> Self {
        self.throttle = format!(",throttling.bps-write={bytes}");
        self
    }

    /// Adds QEMU arguments.
    #[must_use]
    pub fn with_arguments(mut self, more: &[String]) -> Self {
        self.more.extend_from_slice(more);
        self
    }

    /// Runs `work` on the mounted disk while the machine is off.
    pub fn mounted<T>(&self, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let folder = self.folder.join("root");
        fs::create_dir_all(&folder)?;
        mount(
            Some(self.disk.device()),
            &folder,
            Some("xfs"),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("cannot mount {}", self.disk.device().display()))?;
        let done = work(&folder);
        umount2(&folder, MntFlags::empty())
            .with_context(|| format!("cannot unmount {}", folder.display()))?;
        done
    }

    /// Boots the machine with these words on the kernel command line, and waits until the machine
    /// powers itself off or restarts.
    pub fn run(
        &self,
        words: &str,
        (address, mac): (Ipv4Addr, &str),
        timeout: Duration,
    ) -> Result<()> {
        let kernel = kernel()?;
        let console = self.folder.join("console");
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(EMULATION)
            .args(["-smp", "2", "-m", "1024", "-no-reboot", "-nodefaults"])
            .args(["-display", "none", "-serial", "stdio", "-kernel"])
            .arg(kernel.join("vmlinuz"))
            .arg("-initrd")
            .arg(kernel.join("initrd"))
            .args([
                "-append",
                &format!("{KERNEL_ARGUMENTS} panic=-1 {words}"),
                "-drive",
            ])
            .arg(format!(
                "file={},format=raw,if=virtio,cache=none{}",
                self.disk.device().display(),
                self.throttle
            ))
            // In this network, a guest can get its own address by DHCP, and reaches no other
            // machine.
            .args([
                "-netdev",
                &format!("user,id=n,restrict=on,net=10.101.15.0/24,dhcpstart={address}"),
            ])
            .args(["-device", &format!("virtio-net-pci,netdev=n,mac={mac}")])
            .args(&self.more);
        let mut machine = KillOnDrop::spawn(&qemu, &File::create(&console)?)?;
        let end = Instant::now() + timeout;
        while machine.ended()?.is_none() {
            if Instant::now() >= end {
                let said = fs::read(&console).unwrap_or_default();
                bail!(
                    "the machine is still on after {timeout:?}; its console:\n{}",
                    tail(&String::from_utf8_lossy(&said), 40)
                );
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Returns everything that the machine printed on its console in the last run.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("console")).unwrap_or_default())
            .into_owned()
    }
}

/// Returns the path of busybox, which provides many commands and needs no libraries.
pub fn busybox() -> Result<PathBuf> {
    Ok(kernel()?.join("busybox"))
}

/// Writes a kernel and an initramfs to a folder, with the names that they have in an installation
/// tree: `vmlinuz` and `initrd.img`. `init` is the text of the initramfs's first program.
pub fn installer(folder: &Path, init: &str) -> Result<()> {
    let kernel = kernel()?;
    let work = tempfile::tempdir()?;
    fs::write(work.path().join("init"), init)?;
    fs::set_permissions(work.path().join("init"), fs::Permissions::from_mode(0o755))?;
    // The kernel unpacks the archives one after another. If two files have the same name, the last
    // file remains (kernel documentation, driver-api/early-userspace/buffer-format).
    let script = "cp \"$1/vmlinuz\" \"$2/\" && cp \"$1/initrd\" \"$2/initrd.img\" && cd \"$3\" && \
                  echo init | \"$1/busybox\" cpio -o -H newc 2>/dev/null | gzip -1 >> \"$2/initrd.img\"";
    let mut sh = Command::new("sh");
    sh.args(["-euc", script, "sh"])
        .arg(kernel)
        .arg(folder)
        .arg(work.path());
    process::run(&mut sh)?.ok().map(drop)
}

/// Returns the folder of the kernel's unpacked package.
pub fn kernel_package() -> Result<PathBuf> {
    packages::unpacked(&kernel_name()?)
}

/// Returns the name of the package that contains the kernel.
fn kernel_name() -> Result<String> {
    let said = process::check("apt-cache", &["depends", KERNEL])?;
    let package = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.with_context(|| format!("apt has no {KERNEL}: run apt-get update"))?;
    Ok(package.to_owned())
}

/// Returns a folder with `vmlinuz`, `initrd` and `busybox`.
fn kernel() -> Result<PathBuf> {
    let key = hex(&Sha256::digest(INIT.as_bytes()));
    cache::entry(&format!("vm-kernel-{}", &key[..12]), |folder| {
        let work = tempfile::tempdir()?;
        let package = kernel_name()?;
        let mut apt = Command::new("apt-get");
        apt.current_dir(work.path()).args([
            "-q",
            "-o",
            "APT::Sandbox::User=root",
            "download",
            &package,
            "busybox-static",
        ]);
        process::run(&mut apt)?.ok()?;
        let tree = work.path().join("tree");
        for deb in fs::read_dir(work.path())? {
            let deb = deb?.path();
            if deb.extension().is_some_and(|end| end == "deb") {
                process::check(
                    "dpkg-deb",
                    &["-x", &deb.to_string_lossy(), &tree.to_string_lossy()],
                )?;
            }
        }
        // Copy the kernel's own modules into one flat folder, where init.sh looks for them by name.
        let initrd = work.path().join("initrd");
        for part in ["bin", "modules"] {
            fs::create_dir_all(initrd.join(part))?;
        }
        let script = "find \"$1/lib/modules\" -name '*.ko' -exec cp -t \"$2/modules\" {} + && \
                      cp \"$1/bin/busybox\" \"$2/bin/\" && cp \"$1/bin/busybox\" \"$3/\" && cp \"$1\"/boot/vmlinuz-* \"$3/vmlinuz\"";
        process::run(
            Command::new("sh")
                .args(["-euc", script, "sh"])
                .arg(&tree)
                .arg(&initrd)
                .arg(folder),
        )?
        .ok()?;
        keep_wanted(&initrd.join("modules"))?;
        fs::write(initrd.join("init"), INIT)?;
        fs::set_permissions(initrd.join("init"), fs::Permissions::from_mode(0o755))?;
        let pack = "cd \"$1\" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null | gzip -1 > \"$2/initrd\"";
        process::run(
            Command::new("sh")
                .args(["-euc", pack, "sh"])
                .arg(&initrd)
                .arg(folder),
        )?
        .ok()
        .map(drop)
    })
}

/// Removes the modules that init.sh does not name.
fn keep_wanted(folder: &Path) -> Result<()> {
    for module in fs::read_dir(folder)? {
        let path = module?.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !INIT
            .split_whitespace()
            .any(|word| word.trim_end_matches(';') == name)
        {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
