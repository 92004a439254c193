//! Provides access to systemd's notifications, units and journal.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The unit that sets up this node. The unit must be stopped while another process writes to
/// firstboot's journal.
pub(crate) const FIRSTBOOT_UNIT: &str = "firstboot.service";
/// The unit of etcd.
pub(crate) const ETCD_UNIT: &str = "etcd.service";
/// The unit that executes an order to update this node.
pub(crate) const UPDATE_UNIT: &str = "firstboot-update.service";

/// The maximum number of entries to read from systemd's journal.
const ENTRIES: u32 = 2000;
/// The maximum number of bytes to read from systemd's journal.
const JOURNAL: u64 = 8 << 20;

/// Sends a notification to systemd (sd_notify(3)). Does nothing without a notification socket, for
/// example on an operator's command line.
fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let send = || -> std::io::Result<()> {
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&socket)?,
        };
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
        Ok(())
    };
    if let Err(error) = send() {
        eprintln!("firstboot: cannot notify systemd of `{state}`: {error}");
    }
}

/// Notifies systemd that the unit of this process has started, so that the units ordered after this
/// unit can start.
pub(crate) fn notify_ready() {
    notify("READY=1");
}

/// Sets the status line that `systemctl status` shows for the unit of this process.
pub(crate) fn notify_status(line: &str) {
    notify(&format!("STATUS={}", line.replace('\n', " ")));
}

/// Starts a unit without waiting for the start to finish, because the start of etcd finishes only
/// after the cluster has a quorum.
pub(crate) fn start(unit: &str) -> Result<()> {
    run(&["start", "--no-block", unit]).map(|_| ())
}

pub(crate) fn restart(unit: &str) -> Result<()> {
    run(&["restart", "--no-block", unit]).map(|_| ())
}

/// Returns the id of a unit's main process, if the process is running.
pub(crate) fn main_process(unit: &str) -> Result<Option<u32>> {
    // Do not use `show --value`, which was introduced in systemd 230.
    let said = run(&["show", "--property=MainPID", unit])?;
    Ok(said
        .strip_prefix("MainPID=")
        .and_then(|pid| pid.parse().ok())
        .filter(|pid| *pid != 0))
}

/// Stops a unit and waits until it has stopped.
pub(crate) fn stop(unit: &str) -> Result<()> {
    run(&["stop", unit]).map(|_| ())
}

/// Returns the given properties of a unit, as a map from names to values. Omits properties that
/// this version of systemd does not have.
pub(crate) fn properties(unit: &str, names: &[&str]) -> Result<BTreeMap<String, String>> {
    let said = run(&["show", &format!("--property={}", names.join(",")), unit])?;
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Passes a unit's journal entries of this boot to the function `read`, newest first and each as
/// one line of JSON, until `read` returns false.
pub(crate) fn journal(unit: &str, mut read: impl FnMut(&str) -> bool) -> Result<()> {
    // Pass --all, because without this option, journalctl omits messages that are longer than 4
    // KiB.
    let mut child = Command::new("journalctl")
        .args([
            "--boot",
            "--reverse",
            "--all",
            "--quiet",
            "--no-pager",
            "--output=json",
        ])
        .arg(format!("--lines={ENTRIES}"))
        .arg(format!("--unit={unit}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run `journalctl`")?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output.take(JOURNAL)).split(b'\n') {
            let Ok(line) = line else { break };
            if !read(&String::from_utf8_lossy(&line)) {
                break;
            }
        }
    }
    // Kill journalctl, because its remaining output is not needed.
    child.kill().ok();
    child.wait().context("`journalctl` did not exit").map(drop)
}

fn run(arguments: &[&str]) -> Result<String> {
    let words = || format!("systemctl {}", arguments.join(" "));
    let output = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        // Run systemctl in its own process group, so that it does not receive the terminal's
        // signals.
        .process_group(0)
        .output()
        .with_context(|| format!("cannot run `{}`", words()))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}",
            words(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
