//! The machine of a running host: systemd-nspawn and the processes around it.

use std::fs::{self, File};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cgroup::Cgroup;
use crate::kernel::{self, Ported};
use crate::network::Namespace;
use crate::process::{self, KillOnDrop};
use crate::run;

/// The exit code with which nspawn requests to be started again, because the host has requested a
/// reboot.
const REBOOT: i32 = 133;

/// The reason why a host is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffReason {
    /// The host powered itself off.
    PoweredOff,
    /// The host requested a reboot.
    Rebooted,
    /// The host was killed.
    Killed,
}

#[derive(Debug)]
pub(super) struct Machine {
    /// `unshare`, whose child is nspawn. If only nspawn were killed, its container would keep
    /// running. nspawn is the first process of a pid namespace, which ends when `unshare` ends.
    outer: KillOnDrop,
    /// The pid of the host's own first process in the test bed's /proc.
    init: u32,
    /// The host's control group. After `outer` has ended, the group is empty and can be removed.
    _cgroup: Cgroup,
}

/// A shell script. The arguments before `--` are the folders of control groups, and the script
/// moves itself into each of them. It then executes the command after `--`.
const INTO_CGROUP: &str = r#"while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit; shift; done; shift; exec "$@""#;

impl Machine {
    /// Starts nspawn on the root, with these arguments for nspawn and for the host's systemd. The
    /// host's kernel lacks the system calls newer than 3.10, except for those in `ported`. Appends
    /// nspawn's output to the file `console`.
    pub(super) fn boot(
        name: &str,
        root: &Path,
        namespace: &Namespace,
        arguments: &[String],
        systemd_arguments: &[String],
        ported: &[Ported],
        console: &Path,
    ) -> Result<Machine> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(console)
            .with_context(|| format!("cannot open {}", console.display()))?;
        let cgroup = Cgroup::new(run::current()?.number())?;
        // A real machine has no firewall rules when it boots, but the namespace still has the rules
        // from the host's previous boot. If these rules stayed, firewalld would add the same rules
        // again, and after several power cuts, each packet would have to pass thousands of rules.
        process::run(namespace.command("nft").args(["flush", "ruleset"]))?.ok()?;
        let mut nspawn = kernel::command("sh", ported)?;
        // Disable nspawn's own filter, because it returns EPERM, whereas an old kernel returns
        // ENOSYS. If both filters were loaded, the filter that was loaded last would decide which
        // error a call returns.
        nspawn.env("SYSTEMD_SECCOMP", "0");
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
                // The systemd of CentOS 7 is built without seccomp. This setting makes the host's
                // systemd behave the same way (docs/ENVIRONMENT.md in systemd's source).
                "--setenv=SYSTEMD_SECCOMP=0",
            ])
            .arg(format!("--machine={name}"))
            .arg(format!("--directory={}", root.display()))
            .arg(format!(
                "--network-namespace-path={}",
                namespace.path().display()
            ))
            // The network belongs only to this host, so the host may configure it like a real
            // machine. nspawn grants CAP_NET_ADMIN only for a network that nspawn itself makes.
            .arg("--capability=CAP_NET_ADMIN")
            .args(arguments)
            // An argument for the host's systemd. Without this argument, the console of a host that
            // fails to boot stays empty.
            .args(["--", "--show-status=yes"])
            .args(systemd_arguments);
        let mut outer = KillOnDrop::spawn(&nspawn, &log)?;
        let init = first_process(&mut outer)?;
        Ok(Machine {
            outer,
            init,
            _cgroup: cgroup,
        })
    }

    /// Returns the pid of the host's own first process.
    pub(super) fn init(&self) -> u32 {
        self.init
    }

    /// Returns why the host is off, or `None` while it is on.
    pub(super) fn off(&mut self) -> Result<Option<OffReason>> {
        let status = self.outer.ended()?;
        Ok(status.map(|status| match status.code() {
            Some(0) => OffReason::PoweredOff,
            Some(REBOOT) => OffReason::Rebooted,
            _ => OffReason::Killed,
        }))
    }
}

fn first_process(outer: &mut KillOnDrop) -> Result<u32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let nspawn = process::children(outer.id());
        // nspawn also starts helper processes.
        let mut below = nspawn.iter().flat_map(|pid| process::children(*pid));
        if let Some(init) = below.find(|pid| runs_systemd(*pid)) {
            return Ok(init);
        }
        if let Some(status) = outer.ended()? {
            bail!("nspawn has ended ({status})");
        }
        ensure!(
            Instant::now() < deadline,
            "nspawn has not started a first process after 20 s"
        );
        sleep(Duration::from_millis(10));
    }
}

/// Returns whether the process is already systemd. Before its exec, the process is still nspawn.
fn runs_systemd(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| {
        exe.file_name()
            .is_some_and(|name| name == "systemd" || name == "init")
    })
}
