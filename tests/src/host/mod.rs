//! A real systemd host. Its root is an overlayfs on a given root, and systemd-nspawn boots it in
//! the host's network namespace. As on CentOS 7.9, the host's kernel lacks the system calls newer
//! than 3.10, except two that Red Hat backported (see [`crate::kernel`]), and its systemd has no
//! seccomp.
//!
//! Compared with a real machine, a host lacks `CAP_SYS_RESOURCE` and `CAP_SYS_TIME`, a writable
//! /proc/sys outside net.*, SELinux, and a separate kernel. [`Host::cut_power`] kills all processes
//! at one instant, but data that they wrote without an fsync survives, because the kernel keeps
//! running. Only a virtual machine can lose that data.

mod inside;
mod machine;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::harness::tail;
use crate::kernel::Ported;
use crate::network::{Link, Network};
use crate::overlay::Overlay;
use crate::run;

pub use machine::OffReason;

use machine::Machine;

/// The pause between two polls of a host. Each poll starts several programs, which use about 10 ms
/// of CPU time.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The time limit for a host's shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// A host, which is off at first. On drop, the host is killed and its files are removed.
#[derive(Debug)]
pub struct Host {
    // The fields are dropped in this order: first the machine stops, then its root is removed, then
    // its network.
    machine: Option<Machine>,
    overlay: Overlay,
    arguments: Vec<String>,
    masks: Vec<String>,
    ported: Vec<Ported>,
    console: PathBuf,
    link: Link,
    network: Network,
}

impl Host {
    /// Adds a host with the given name to the network, with a fresh layer on top of the root
    /// `lower`.
    pub fn new(network: &Network, name: &str, lower: &Path) -> Result<Host> {
        Self::at(network, network.add(name)?, lower)
    }

    /// Makes a host on a network link that was made for this host.
    pub fn at(network: &Network, link: Link, lower: &Path) -> Result<Host> {
        let name = link.host.as_str();
        let overlay = Overlay::new(name, lower)?;
        let run = run::current()?;
        let console = run.consoles().join(format!("{}-{name}", run.number()));
        let ported = vec![Ported::Seccomp, Ported::Getrandom];
        Ok(Host {
            machine: None,
            overlay,
            arguments: Vec::new(),
            masks: Vec::new(),
            ported,
            console,
            link,
            network: network.clone(),
        })
    }

    /// Returns the host's name.
    pub fn name(&self) -> &str {
        &self.link.host
    }

    /// Returns the host's address.
    pub fn address(&self) -> Ipv4Addr {
        self.link.address
    }

    /// Returns the host's link to the network.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Returns the network that the host is in.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Adds an argument for nspawn, such as `--bind=/dev/loop0` or `--capability=CAP_SYS_TIME`,
    /// that takes effect at the next boot.
    pub fn nspawn_argument(&mut self, argument: impl Into<String>) {
        self.arguments.push(argument.into());
    }

    /// Masks a unit from the next boot on, without changing the disk.
    pub fn mask(&mut self, unit: &str) {
        self.masks.push(format!("systemd.mask={unit}"));
    }

    /// From the next boot on, removes every system call newer than Linux 3.10 from the host's
    /// kernel, except `seccomp`, which firstboot needs.
    pub fn restrict_to_kernel_3_10(&mut self) {
        self.ported = vec![Ported::Seccomp];
    }

    /// Makes a file or folder of the test bed visible in the host from the next boot on.
    pub fn bind(&mut self, from: &Path, to: &str) {
        self.nspawn_argument(format!("--bind={}:{to}", from.display()));
    }

    /// Returns the path of the host's root on the test machine. The path also exists while the host
    /// is off.
    pub fn root(&self) -> PathBuf {
        self.overlay.root()
    }

    /// Converts a path on the host to its path on the test machine.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Writes a file with these permission bits on the host, and creates its folder if necessary.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.path(path);
        let folder = file.parent().unwrap_or(&file);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", file.display()))
    }

    /// Reads a file on the host.
    pub fn read(&self, path: &str) -> Result<String> {
        let file = self.path(path);
        fs::read_to_string(&file)
            .with_context(|| format!("{}: cannot read {}", self.name(), file.display()))
    }

    /// Switches the host on. Returns as soon as its first process exists.
    pub fn boot(&mut self) -> Result<()> {
        ensure!(!self.is_on()?, "{} is already on", self.name());
        let machine = Machine::boot(
            self.name(),
            &self.root(),
            &self.link.namespace,
            &self.arguments,
            &self.masks,
            &self.ported,
            &self.console,
        );
        self.machine =
            Some(machine.with_context(|| {
                format!("{} does not boot:\n{}", self.name(), self.console_tail())
            })?);
        Ok(())
    }

    /// Waits until systemd reports `running`. If units have failed, returns an error that names
    /// them.
    pub fn wait_running(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let state = self
                .run(&["systemctl", "is-system-running"])
                .map(|ran| ran.stdout);
            match state.as_deref().map(str::trim) {
                Ok("running") => return Ok(()),
                Ok("degraded") => {
                    let failed =
                        self.sh("systemctl --failed --plain --no-legend; systemctl status --failed --no-pager");
                    bail!(
                        "{} has failed units:\n{}",
                        self.name(),
                        failed.map(|ran| ran.stdout).unwrap_or_default()
                    );
                }
                other if Instant::now() >= deadline => {
                    let jobs = self
                        .run(&["systemctl", "list-jobs"])
                        .map(|ran| ran.stdout)
                        .unwrap_or_default();
                    bail!(
                        "{} is not running after {timeout:?}: systemd reports {other:?}; its jobs:\n{jobs}\nits console:\n{}",
                        self.name(),
                        self.console_tail()
                    );
                }
                _ => {}
            }
            ensure!(
                self.is_on()?,
                "{} switched off while it booted; its console:\n{}",
                self.name(),
                self.console_tail()
            );
            sleep(POLL_INTERVAL);
        }
    }

    /// Boots the host, and waits for at most three minutes until the host is running.
    pub fn start(&mut self) -> Result<()> {
        self.boot()?;
        self.wait_running(Duration::from_secs(180))
    }

    /// Returns whether the host is on.
    pub fn is_on(&mut self) -> Result<bool> {
        match &mut self.machine {
            None => Ok(false),
            Some(machine) => Ok(machine.off()?.is_none()),
        }
    }

    /// Returns the pid of the host's first process in the test machine's /proc, for use with
    /// nsenter, strace and signals.
    pub fn init(&self) -> Result<u32> {
        let machine = self.machine.as_ref();
        machine
            .map(Machine::init)
            .with_context(|| format!("{} is off", self.name()))
    }

    /// Shuts the host down cleanly.
    pub fn shutdown(&mut self) -> Result<()> {
        // Accept any result of the command, because the shutdown can interrupt the command.
        self.run(&["systemctl", "--no-block", "poweroff"])?;
        let off = self.wait_off(SHUTDOWN_TIMEOUT)?;
        ensure!(
            off == OffReason::PoweredOff,
            "{} was ordered to power off, but is off for another reason: {off:?}",
            self.name()
        );
        Ok(())
    }

    /// Reboots the host cleanly, and waits until it is running again.
    pub fn reboot(&mut self) -> Result<()> {
        self.run(&["systemctl", "--no-block", "reboot"])?;
        let off = self.wait_off(SHUTDOWN_TIMEOUT)?;
        ensure!(
            off == OffReason::Rebooted,
            "{} was ordered to reboot, but is off for another reason: {off:?}",
            self.name()
        );
        self.start()
    }

    /// Kills all processes of the host at one instant. The host's files stay as they were at that
    /// instant.
    pub fn cut_power(&mut self) -> Result<()> {
        let init = i32::try_from(self.init()?).context("the pid is out of range")?;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(init),
            nix::sys::signal::Signal::SIGKILL,
        )
        .with_context(|| format!("cannot kill the first process of {}", self.name()))?;
        self.wait_off(Duration::from_secs(10)).map(drop)
    }

    /// Waits until the host is off, and returns the reason.
    pub fn wait_off(&mut self, timeout: Duration) -> Result<OffReason> {
        let deadline = Instant::now() + timeout;
        loop {
            let Some(machine) = &mut self.machine else {
                bail!("{} is already off", self.name());
            };
            if let Some(off) = machine.off()? {
                self.machine = None;
                return Ok(off);
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} is still on after {timeout:?}; its console:\n{}",
                    self.name(),
                    self.console_tail()
                );
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Discards everything that the host has ever written, as if the host had a new disk. The host
    /// must be off.
    pub fn wipe(&mut self) -> Result<()> {
        ensure!(
            !self.is_on()?,
            "{} must be off before it is wiped",
            self.name()
        );
        self.overlay.wipe()
    }

    /// Returns whether the disk is new, which means that nothing has been written to it.
    pub fn is_new(&self) -> Result<bool> {
        self.overlay.is_fresh()
    }

    /// Makes everything that another host wrote appear on this host's new disk, without copying the
    /// files. The host must be off.
    pub fn use_layer(&mut self, layer: &Path) -> Result<()> {
        ensure!(
            !self.is_on()?,
            "{} must be off before its disk is written",
            self.name()
        );
        self.overlay.use_layer(layer)
    }

    /// Saves the state of the disk for [`Host::revert`]. The host must be off.
    pub fn snapshot(&mut self) -> Result<()> {
        ensure!(
            !self.is_on()?,
            "{} must be off before its disk is saved",
            self.name()
        );
        self.overlay.snapshot()
    }

    /// Restores the disk to its state at the time of [`Host::snapshot`], without copying. The host
    /// must be off.
    pub fn revert(&mut self) -> Result<()> {
        ensure!(
            !self.is_on()?,
            "{} must be off before its disk is reverted",
            self.name()
        );
        self.overlay.revert()
    }

    /// Returns everything that the host has written to its console in all boots.
    pub fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn console_tail(&self) -> String {
        tail(&self.console(), 60)
    }
}
