//! The one door to systemd: what firstboot says to it, and what it asks of it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// How many entries of a journal are read at most, and how many bytes.
const ENTRIES: u32 = 2000;
const JOURNAL: u64 = 8 << 20;

/// Tells systemd something (sd_notify(3)). Where nobody listens, as on an operator's command line, nothing happens.
fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let send = || -> std::io::Result<()> {
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&socket)?,
        };
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
        Ok(())
    };
    // A status line that does not arrive is no reason to stop.
    if let Err(error) = send() {
        eprintln!("firstboot: systemd was not told `{state}`: {error}");
    }
}

/// From now on units ordered after firstboot.service may start.
pub(crate) fn ready() {
    notify("READY=1");
}

/// What `systemctl status firstboot` shows.
pub(crate) fn status(line: &str) {
    notify(&format!("STATUS={}", line.replace('\n', " ")));
}

/// Starts a unit without waiting for it. etcd's own start ends only when there is a quorum.
pub(crate) fn start(unit: &str) -> Result<()> {
    run(&["start", "--no-block", unit]).map(|_| ())
}

/// Stops a unit, and starts it again without waiting for it.
pub(crate) fn restart(unit: &str) -> Result<()> {
    run(&["restart", "--no-block", unit]).map(|_| ())
}

/// The process of a unit; `None` where it has none.
pub(crate) fn main_process(unit: &str) -> Result<Option<u32>> {
    // `show --value` came with systemd 230.
    let said = run(&["show", "--property=MainPID", unit])?;
    Ok(said.strip_prefix("MainPID=").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0))
}

/// Stops a unit and waits until it is down.
pub(crate) fn stop(unit: &str) -> Result<()> {
    run(&["stop", unit]).map(|_| ())
}

/// What systemd says of a unit: these properties, by name. One that this version does not know is missing.
pub(crate) fn properties(unit: &str, names: &[&str]) -> Result<BTreeMap<String, String>> {
    let said = run(&["show", &format!("--property={}", names.join(",")), unit])?;
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Gives the newest entries of a unit's journal in this boot to a reader, the newest first, a line of JSON each, until it says
/// that it has seen enough.
pub(crate) fn journal(unit: &str, mut read: impl FnMut(&str) -> bool) -> Result<()> {
    // --all: without it a text of more than 4 KiB is left out.
    let mut child = Command::new("journalctl")
        .args(["--boot", "--reverse", "--all", "--quiet", "--no-pager", "--output=json"])
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
    // It may have more to say; nobody listens any more.
    child.kill().ok();
    child.wait().context("`journalctl` did not end").map(drop)
}

fn run(arguments: &[&str]) -> Result<String> {
    let words = || format!("systemctl {}", arguments.join(" "));
    let output = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{}`", words()))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", words(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
