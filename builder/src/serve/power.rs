//! `--power`: calls the operator's command to boot a machine from the network when its installation
//! is allowed, and again after an attempt that failed. The command gets the node's name and an
//! action as its arguments. The server does not use a shell, and nothing that a machine reports
//! becomes an argument.
//!
//! A failed call is shown but has no other effect: the machine is still installed at its next
//! network boot.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use recipes::{InstallStage, Label};

use super::board::hook::wait;
use super::log::{Line, LineKind, Log, printable};
use super::record::{InstallEventKind, Installation, NextBoot, Record, time};

/// The time limit for a call. Management controllers are slow.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// The pause between two reads of the record.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The pause between `off` and `on`. A machine needs a moment to switch off.
const OFF_PAUSE: Duration = Duration::from_secs(10);
/// The maximum number of machines that are switched on or off at the same time.
const WORKERS: usize = 8;
/// The maximum number of bytes of the command's standard error in a message.
const MAX_ERROR_BYTES: u64 = 1024;

/// The action that the command must perform on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    On,
    Off,
    Cycle,
    /// Boot from the network once, at the next boot.
    Netboot,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Cycle => "cycle",
            Self::Netboot => "netboot",
        })
    }
}

/// The result of the newest calls for a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PowerResult {
    /// The completed actions, or the failure.
    pub(super) text: String,
    /// The time of the newest call, in the format of RFC 3339.
    pub(super) at: String,
    pub(super) failed: bool,
}

/// The command, and the results of its calls.
#[derive(Debug, Clone)]
pub(super) struct Power(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    program: PathBuf,
    record: Record,
    retries: u32,
    log: Log,
    results: Mutex<BTreeMap<Label, PowerResult>>,
}

/// The time at which a node's record was last written, and the installation in the record.
type Recorded = (SystemTime, Option<Installation>);

impl Power {
    /// Starts watching the record. Installations that were allowed before the start cause no call,
    /// because a restart of the server must not switch machines on or off.
    pub(super) fn start(program: &Path, record: Record, retries: u32, log: Log) -> Result<Self> {
        check_program(program)?;
        let power = Self(Arc::new(Shared {
            program: program.to_owned(),
            record,
            retries,
            log,
            results: Mutex::default(),
        }));
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..WORKERS {
            let (power, receiver) = (power.clone(), Arc::clone(&receiver));
            std::thread::Builder::new()
                .name("power".to_owned())
                .spawn(move || power.work(&receiver))?;
        }
        let follower = power.clone();
        let seen = follower.read(&BTreeMap::new())?;
        std::thread::Builder::new()
            .name("power".to_owned())
            .spawn(move || follower.follow(seen, &sender))?;
        Ok(power)
    }

    /// Returns the result of the newest calls for a machine, if there were any.
    pub(super) fn result(&self, node: &Label) -> Option<PowerResult> {
        let results = self.0.results.lock();
        let results = results.unwrap_or_else(PoisonError::into_inner);
        results.get(node).cloned()
    }

    fn follow(&self, mut seen: BTreeMap<Label, Recorded>, orders: &Sender<(Label, Recorded)>) {
        loop {
            std::thread::sleep(LOOK_INTERVAL);
            let now = match self.read(&seen) {
                Ok(now) => now,
                Err(error) => {
                    self.0.log.error(&error.context("--power"));
                    continue;
                }
            };
            for (node, recorded) in &now {
                if wants_netboot(seen.get(node), recorded, self.0.retries) {
                    // The send cannot fail, because the workers never end.
                    let _ = orders.send((node.clone(), recorded.clone()));
                }
            }
            seen = now;
        }
    }

    /// Returns all records. Reads only the records that have changed.
    fn read(&self, seen: &BTreeMap<Label, Recorded>) -> Result<BTreeMap<Label, Recorded>> {
        let record = &self.0.record;
        let mut now = BTreeMap::new();
        for (node, changed) in record.installation_changes()? {
            let recorded = match seen.get(&node) {
                Some(known) if known.0 == changed => known.clone(),
                known => match (record.installation(&node), known) {
                    (Ok(installation), _) => (changed, installation),
                    // The next call reads the record again. The board shows the error.
                    (Err(_), Some(known)) => known.clone(),
                    (Err(_), None) => continue,
                },
            };
            now.insert(node, recorded);
        }
        Ok(now)
    }

    fn work(&self, orders: &Mutex<Receiver<(Label, Recorded)>>) {
        loop {
            let order = {
                let orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
                orders.recv()
            };
            let Ok((node, wanted)) = order else { return };
            let is_current = || {
                let now = self.0.record.installation(&node).ok().flatten();
                now == wanted.1
            };
            let call = |action| call(&self.0.program, &node, action, CALL_TIMEOUT);
            let result = boot_from_network(call, is_current, OFF_PAUSE);
            self.note(&node, &result);
        }
    }

    fn note(&self, node: &Label, result: &Result<String, String>) {
        let now = SystemTime::now();
        let (Ok(text) | Err(text)) = result;
        self.0.log.add(Line {
            kind: LineKind::Node,
            time: now,
            from: None,
            card: None,
            node: Some(node.to_string()),
            refused: None,
            what: format!("power: {text}"),
        });
        let result = PowerResult {
            text: printable(text),
            at: time::text(now),
            failed: result.is_err(),
        };
        let results = self.0.results.lock();
        let mut results = results.unwrap_or_else(PoisonError::into_inner);
        results.insert(node.clone(), result);
    }
}

/// Refuses a path that is not an executable file. The server calls this function at its start, so
/// the operator learns of a wrong path immediately. A command name without a slash passes the
/// check, because the server looks it up in PATH at each call.
fn check_program(program: &Path) -> Result<()> {
    if program.components().count() < 2 {
        return Ok(());
    }
    let meta = program
        .metadata()
        .with_context(|| format!("--power: cannot read {}", program.display()))?;
    ensure!(
        meta.is_file() && meta.permissions().mode() & 0o111 != 0,
        "--power: {} is not an executable file; the option accepts only the path of one program, \
         without arguments",
        program.display()
    );
    Ok(())
}

/// Decides whether a machine must boot from the network now. The machine must do so if its
/// installation has just been allowed, or if its newest attempt has just failed and another attempt
/// is left.
fn wants_netboot(before: Option<&Recorded>, now: &Recorded, retries: u32) -> bool {
    if before.is_some_and(|before| before.0 == now.0) {
        return false;
    }
    let Some(installation) = &now.1 else {
        return false;
    };
    if !matches!(installation.next(retries), NextBoot::Install(_)) {
        return false;
    }
    let is_failed = |installation: &Installation| {
        let kind = installation.last.as_ref().map(|last| last.kind);
        kind == Some(InstallEventKind::Reported(InstallStage::Failed))
    };
    // The machine may repeat the report of one failure.
    let is_known = before
        .and_then(|before| before.1.as_ref())
        .is_some_and(|before| is_failed(before) && before.attempts == installation.attempts);
    installation.last.is_none() || (is_failed(installation) && !is_known)
}

/// Boots a machine from the network, unless its installation has begun or is no longer allowed.
/// Returns the completed actions, or the failure.
///
/// A management controller refuses to cycle a machine that is off, and some controllers cannot
/// cycle a machine. If the call for `cycle` fails, the machine is switched off and on instead. Some
/// controllers also refuse to switch off a machine that is off (bmc-toolbox/bmclib#382), so the
/// machine is switched on even if the call for `off` fails.
fn boot_from_network(
    call: impl Fn(Action) -> io::Result<()>,
    is_current: impl Fn() -> bool,
    pause: Duration,
) -> Result<String, String> {
    let failed = |action: Action| move |error: io::Error| format!("{action} failed: {error}");
    let begun = "the machine was not switched off and on, because its installation has begun or is \
                 no longer allowed";
    if !is_current() {
        return Ok(begun.to_owned());
    }
    // If the call for `netboot` fails, do not cycle the machine, because it would boot from its
    // disk.
    call(Action::Netboot).map_err(failed(Action::Netboot))?;
    if !is_current() {
        return Ok(begun.to_owned());
    }
    let Err(cycle) = call(Action::Cycle).map_err(failed(Action::Cycle)) else {
        return Ok("`netboot` and `cycle` succeeded".to_owned());
    };
    if !is_current() {
        return Ok(begun.to_owned());
    }
    let off = call(Action::Off).map_err(failed(Action::Off));
    std::thread::sleep(pause);
    let on = call(Action::On).map_err(failed(Action::On));
    match (off, on) {
        (Ok(()), Ok(())) => Ok(format!("`netboot`, `off` and `on` succeeded; {cycle}")),
        (Ok(()), Err(on)) => Err(format!("{cycle}; {on}")),
        // If the machine was off, it boots from the network now. If the machine was on, it keeps
        // running.
        (Err(off), Ok(())) => Err(format!("{cycle}; {off}; `netboot` and `on` succeeded")),
        (Err(off), Err(on)) => Err(format!("{cycle}; {off}; {on}")),
    }
}

/// Calls the command once. Kills the command if it exceeds the time limit.
fn call(program: &Path, node: &Label, action: Action, patience: Duration) -> io::Result<()> {
    let mut said = tempfile::tempfile()?;
    let mut child = Command::new(program)
        .arg(node.as_str())
        .arg(action.to_string())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .spawn()?;
    wait(&mut child, patience).map_err(|error| {
        let mut text = Vec::new();
        let read = said
            .rewind()
            .and_then(|()| said.take(MAX_ERROR_BYTES).read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text).trim().replace('\n', " ");
        match read {
            Ok(_) if !text.is_empty() => io::Error::other(format!("{error}: {text}")),
            _ => error,
        }
    })
}

#[cfg(test)]
mod tests;
