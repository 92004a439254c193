//! A real systemd host: an overlay on some root, booted by systemd-nspawn in the host's network namespace.
//!
//! What is missing against a machine: `CAP_SYS_RESOURCE` and `CAP_SYS_TIME`, a writable /proc/sys outside net.*,
//! SELinux, a kernel of its own. [`Host::pull_the_plug`] ends all processes at one instant, but what they wrote
//! without fsync survives, since the kernel goes on: losing that takes a virtual machine.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cgroup::Cgroup;
use crate::harness::tail;
use crate::network::{Link, Network};
use crate::overlay::Overlay;
use crate::process::{self, Ran, Tied};
use crate::run;

/// The exit code with which nspawn asks whoever started it to start it again: the host has asked for a reboot.
const REBOOT: i32 = 133;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a host may take to shut down.
const SHUTDOWN: Duration = Duration::from_secs(30);

/// A host. It is off when made; on drop it is killed and its files are removed.
#[derive(Debug)]
pub struct Host {
    // The order is the order of the drop: first the machine stops, then its root goes, then its network.
    machine: Option<Machine>,
    overlay: Overlay,
    arguments: Vec<String>,
    console: PathBuf,
    link: Link,
    network: Network,
}

#[derive(Debug)]
struct Machine {
    /// `unshare`, whose child is nspawn. nspawn alone would leave its container running when it is killed;
    /// as the first process of a pid namespace it takes everything with it.
    outer: Tied,
    /// The host's own first process, as the bed's /proc numbers it.
    init: u32,
    /// Empty, and removed, when `outer` is gone.
    _cgroup: Cgroup,
}

/// Puts itself into the control groups named before `--` and becomes the command named after it.
const INTO_CGROUP: &str = r#"while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit; shift; done; shift; exec "$@""#;

/// How a host went off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    /// It powered itself off.
    PoweredOff,
    /// It asked to be started again.
    Rebooted,
    /// It was killed.
    Killed,
}

impl Host {
    /// Adds a host of that name to the network, with a fresh layer on the root `lower`.
    pub fn new(network: &Network, name: &str, lower: &Path) -> Result<Host> {
        let link = network.add(name)?;
        let overlay = Overlay::new(name, lower)?;
        let run = run::current()?;
        let console = run.consoles().join(format!("{}-{name}", run.number()));
        Ok(Host {
            machine: None,
            overlay,
            arguments: Vec::new(),
            console,
            link,
            network: network.clone(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.link.host
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.link.address
    }

    /// Its place in the network.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The network it is in.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// One more argument for nspawn from the next boot on, such as `--bind=/dev/loop0` or `--capability=CAP_SYS_TIME`.
    pub fn nspawn_argument(&mut self, argument: impl Into<String>) {
        self.arguments.push(argument.into());
    }

    /// Makes a file or folder of the bed's visible in the host from the next boot on.
    pub fn bind(&mut self, from: &Path, to: &str) {
        self.nspawn_argument(format!("--bind={}:{to}", from.display()));
    }

    /// The host's root, as seen from outside. It is there while the host is off, too.
    pub fn root(&self) -> PathBuf {
        self.overlay.root()
    }

    /// A path of the host's, as seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Writes a file of the host's with these permission bits, and makes its folder.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.path(path);
        let folder = file.parent().unwrap_or(&file);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", file.display()))
    }

    /// Reads a file of the host's.
    pub fn read(&self, path: &str) -> Result<String> {
        let file = self.path(path);
        fs::read_to_string(&file)
            .with_context(|| format!("{}: cannot read {}", self.name(), file.display()))
    }

    /// Switches the host on. It returns as soon as its first process is there.
    pub fn boot(&mut self) -> Result<()> {
        ensure!(!self.is_on()?, "{} is on already", self.name());
        let console = File::options()
            .create(true)
            .append(true)
            .open(&self.console)
            .with_context(|| format!("cannot open {}", self.console.display()))?;
        let cgroup = Cgroup::new(run::current()?.number())?;
        let mut nspawn = Command::new("sh");
        nspawn
            .args(["-c", INTO_CGROUP, "boot"])
            .args(cgroup.folders())
            .args([
                "--",
                "unshare",
                "--mount",
                "--mount-proc",
                "--pid",
                "--fork",
                "--kill-child=KILL",
                "--",
            ])
            .args([
                "systemd-nspawn",
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--boot",
                "--console=read-only",
                "--setenv=TERM=dumb",
            ])
            .arg(format!("--machine={}", self.name()))
            .arg(format!("--directory={}", self.root().display()))
            .arg(format!(
                "--network-namespace-path={}",
                self.link.namespace.path().display()
            ))
            // The network is the host's own, so it may do there what a machine may: nspawn grants this only where it
            // makes the network itself.
            .arg("--capability=CAP_NET_ADMIN")
            .args(&self.arguments)
            // For the host's systemd: without it the console of a host that fails to boot stays empty.
            .args(["--", "--show-status=yes"]);
        let mut outer = Tied::spawn(&nspawn, &console)?;
        let init = self.first_process(&mut outer)?;
        self.machine = Some(Machine {
            outer,
            init,
            _cgroup: cgroup,
        });
        Ok(())
    }

    fn first_process(&self, outer: &mut Tied) -> Result<u32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let nspawn = process::children(outer.id());
            // nspawn starts helpers before; the host's own first process is the one whose pid namespace is new.
            for candidate in nspawn.iter().flat_map(|pid| process::children(*pid)) {
                if runs_systemd(candidate) {
                    return Ok(candidate);
                }
            }
            if let Some(status) = outer.ended()? {
                bail!(
                    "{}: nspawn has ended ({status}):\n{}",
                    self.name(),
                    self.console_tail()
                );
            }
            ensure!(
                Instant::now() < deadline,
                "{} has no first process after 20 s:\n{}",
                self.name(),
                self.console_tail()
            );
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until systemd says `running`. A host with failed units is an error that names them.
    pub fn wait_running(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let state = self
                .run(&["systemctl", "is-system-running"])
                .map(|ran| ran.stdout);
            match state.as_deref().map(str::trim) {
                Ok("running") => return Ok(()),
                Ok("degraded") => {
                    let failed = self.sh("systemctl --failed --plain --no-legend; systemctl status --failed --no-pager");
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
                        "{} is not running after {patience:?}: systemd says {other:?}; its jobs:\n{jobs}\nits console:\n{}",
                        self.name(),
                        self.console_tail()
                    );
                }
                _ => {}
            }
            ensure!(
                self.is_on()?,
                "{} went off while it booted; its console:\n{}",
                self.name(),
                self.console_tail()
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// Boots and waits until it is running, for no more than a minute.
    pub fn start(&mut self) -> Result<()> {
        self.boot()?;
        self.wait_running(Duration::from_secs(60))
    }

    /// Whether the host is on.
    pub fn is_on(&mut self) -> Result<bool> {
        match &mut self.machine {
            None => Ok(false),
            Some(machine) => Ok(machine.outer.ended()?.is_none()),
        }
    }

    /// The host's first process, as the machine's /proc numbers it: for nsenter, strace and signals.
    pub fn init(&self) -> Result<u32> {
        let machine = self.machine.as_ref();
        machine
            .map(|machine| machine.init)
            .with_context(|| format!("{} is off", self.name()))
    }

    /// A command that will run on the host, in all its namespaces, with a login's PATH and nothing else.
    pub fn command(&self, program: &[&str]) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--all",
                "--target",
                &self.init()?.to_string(),
                "--",
                "/usr/bin/env",
                "-i",
            ])
            .args([&format!("PATH={PATH}"), "HOME=/root", "LANG=C.UTF-8"])
            .args(program);
        Ok(command)
    }

    /// Runs a program on the host, whatever its exit code.
    pub fn run(&self, program: &[&str]) -> Result<Ran> {
        process::run(&mut self.command(program)?)
    }

    /// Runs a program on the host that must succeed, and returns its standard output.
    pub fn check(&self, program: &[&str]) -> Result<String> {
        self.run(program)?
            .ok()
            .with_context(|| format!("on {}", self.name()))
    }

    /// Runs a shell script on the host, whatever its exit code.
    pub fn sh(&self, script: &str) -> Result<Ran> {
        self.run(&["sh", "-c", script])
    }

    /// Shuts the host down in an orderly way.
    pub fn shutdown(&mut self) -> Result<()> {
        // The answer may be cut short: the host is going.
        self.run(&["systemctl", "--no-block", "poweroff"])?;
        let off = self.wait_off(SHUTDOWN)?;
        ensure!(
            off == Off::PoweredOff,
            "{} was told to power off, but: {off:?}",
            self.name()
        );
        Ok(())
    }

    /// Reboots the host in an orderly way, and waits until it is running again.
    pub fn reboot(&mut self) -> Result<()> {
        self.run(&["systemctl", "--no-block", "reboot"])?;
        let off = self.wait_off(SHUTDOWN)?;
        ensure!(
            off == Off::Rebooted,
            "{} was told to reboot, but: {off:?}",
            self.name()
        );
        self.start()
    }

    /// Kills all that runs on the host at one instant. Its files are as they were at that instant.
    pub fn pull_the_plug(&mut self) -> Result<()> {
        let init = i32::try_from(self.init()?).context("a pid does not fit")?;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(init),
            nix::sys::signal::Signal::SIGKILL,
        )
        .with_context(|| format!("cannot kill the first process of {}", self.name()))?;
        self.wait_off(Duration::from_secs(10)).map(drop)
    }

    /// Waits until the host is off, by its own doing or another's, and says how it went.
    pub fn wait_off(&mut self, patience: Duration) -> Result<Off> {
        let deadline = Instant::now() + patience;
        let Some(machine) = &mut self.machine else {
            bail!("{} is off already", self.name());
        };
        let status = loop {
            if let Some(status) = machine.outer.ended()? {
                break status;
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} is still on after {patience:?}; its console:\n{}",
                    self.name(),
                    self.console_tail()
                );
            }
            sleep(Duration::from_millis(20));
        };
        self.machine = None;
        Ok(match status.code() {
            Some(0) => Off::PoweredOff,
            Some(REBOOT) => Off::Rebooted,
            _ => Off::Killed,
        })
    }

    /// Throws away all that the host ever wrote: its disk is new. It must be off.
    pub fn wipe(&mut self) -> Result<()> {
        ensure!(!self.is_on()?, "{} must be off to be wiped", self.name());
        self.overlay.wipe()
    }

    /// The unit's journal, of all boots; read from the disk while the host is off.
    pub fn journal(&self, unit: &str) -> Result<String> {
        let unit = format!("--unit={unit}");
        if self.machine.is_some() {
            return self.check(&[
                "journalctl",
                "--no-pager",
                "--output=short-monotonic",
                &unit,
            ]);
        }
        let folder = format!("--directory={}", self.path("/var/log/journal").display());
        process::check(
            "journalctl",
            &["--no-pager", "--output=short-monotonic", &folder, &unit],
        )
    }

    /// All that the host wrote to its console, of all boots.
    pub fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn console_tail(&self) -> String {
        tail(&self.console(), 60)
    }
}

/// Whether the process has come so far as to be an init: before its exec it is still nspawn itself.
fn runs_systemd(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| {
        exe.file_name()
            .is_some_and(|name| name == "systemd" || name == "init")
    })
}
