//! The machine that a host is while it is on: systemd-nspawn and what is around it.

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

/// The exit code with which nspawn asks whoever started it to start it again: the host has asked
/// for a reboot.
const REBOOT: i32 = 133;

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

#[derive(Debug)]
pub(super) struct Machine {
    /// `unshare`, whose child is nspawn. nspawn alone would leave its container running when it is
    /// killed; as the first process of a pid namespace it takes everything with it.
    outer: KillOnDrop,
    /// The host's own first process, as the bed's /proc numbers it.
    init: u32,
    /// Empty, and removed, when `outer` is gone.
    _cgroup: Cgroup,
}

/// Puts itself into the control groups named before `--` and becomes the command named after it.
const INTO_CGROUP: &str = r#"while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit; shift; done; shift; exec "$@""#;

impl Machine {
    /// Starts nspawn on the root, with its output going to the end of the file `console`, on a
    /// kernel that is old but for the calls `ported`.
    pub(super) fn boot(
        name: &str,
        root: &Path,
        namespace: &Namespace,
        arguments: &[String],
        ported: &[Ported],
        console: &Path,
    ) -> Result<Machine> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(console)
            .with_context(|| format!("cannot open {}", console.display()))?;
        let cgroup = Cgroup::new(run::current()?.number())?;
        // A machine that was off knows no firewall rules. The namespace still has those of before,
        // and firewalld adds to what it finds: after some power cuts each packet would meet
        // thousands.
        process::run(namespace.command("nft").args(["flush", "ruleset"]))?.ok()?;
        let mut nspawn = kernel::command("sh", ported)?;
        // nspawn's own filter says EPERM where an old kernel says ENOSYS, and of two filters the
        // inner one is heard.
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
                // The systemd of CentOS 7 is built without seccomp; so is the host's, in effect
                // (systemd, docs/ENVIRONMENT.md).
                "--setenv=SYSTEMD_SECCOMP=0",
            ])
            .arg(format!("--machine={name}"))
            .arg(format!("--directory={}", root.display()))
            .arg(format!(
                "--network-namespace-path={}",
                namespace.path().display()
            ))
            // The network is the host's own, so it may do there what a machine may: nspawn grants
            // this only where it makes the network itself.
            .arg("--capability=CAP_NET_ADMIN")
            .args(arguments)
            // For the host's systemd: without it the console of a host that fails to boot stays
            // empty.
            .args(["--", "--show-status=yes"]);
        let mut outer = KillOnDrop::spawn(&nspawn, &log)?;
        let init = first_process(&mut outer)?;
        Ok(Machine {
            outer,
            init,
            _cgroup: cgroup,
        })
    }

    /// The host's own first process.
    pub(super) fn init(&self) -> u32 {
        self.init
    }

    /// How it went off; none while it is on.
    pub(super) fn off(&mut self) -> Result<Option<Off>> {
        let status = self.outer.ended()?;
        Ok(status.map(|status| match status.code() {
            Some(0) => Off::PoweredOff,
            Some(REBOOT) => Off::Rebooted,
            _ => Off::Killed,
        }))
    }
}

fn first_process(outer: &mut KillOnDrop) -> Result<u32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let nspawn = process::children(outer.id());
        // nspawn starts helpers, too.
        let mut below = nspawn.iter().flat_map(|pid| process::children(*pid));
        if let Some(init) = below.find(|pid| runs_systemd(*pid)) {
            return Ok(init);
        }
        if let Some(status) = outer.ended()? {
            bail!("nspawn has ended ({status})");
        }
        ensure!(
            Instant::now() < deadline,
            "nspawn has started no first process after 20 s"
        );
        sleep(Duration::from_millis(10));
    }
}

/// Whether the process has come so far as to be an init: before its exec it is still nspawn itself.
fn runs_systemd(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| {
        exe.file_name()
            .is_some_and(|name| name == "systemd" || name == "init")
    })
}
