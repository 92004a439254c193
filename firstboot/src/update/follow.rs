//! Shows the messages of the update unit until the order has ended. The unit does not depend on
//! this process.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::state::{OrderOutcome, UpdateResult, UpdateState};
use crate::exit::{Exit, failed, not_ready, refused};
use crate::output::show;
use crate::systemd::UPDATE_UNIT;
use crate::{files, paths, systemd};

/// The pause between two reads of the messages.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// The time limit for the unit's process to end after it has written the outcome.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of times that the messages are read between two checks of the unit.
const READS: u32 = 20;
/// The maximum number of consecutive checks in which the unit has no process. systemd restarts the
/// unit only after a few seconds.
const AWAY: u32 = 60;

/// Follows an order. With `quiet`, prints the messages on standard error, because standard output
/// is reserved for output that programs read.
pub(super) fn follow(id: &str, quiet: bool) -> Result<OrderOutcome> {
    let (mut seen, mut away, mut reads) = (0, 0, 0_u32);
    loop {
        // Read the outcome before the messages, so that all messages that precede the outcome are
        // shown.
        let outcome = OrderOutcome::read()?.filter(|outcome| outcome.id == id);
        seen += tail(seen, quiet)?;
        if let Some(outcome) = outcome {
            wait_until_ended()?;
            return Ok(outcome);
        }
        reads += 1;
        if reads.is_multiple_of(READS) {
            away = if systemd::main_process(UPDATE_UNIT)?.is_some() {
                0
            } else {
                away + 1
            };
        }
        if away > AWAY {
            let begun = UpdateState::read()?.is_some();
            return Err(failed(if begun {
                format!(
                    "{UPDATE_UNIT} is not running, and the update has not finished: see `systemctl \
                     status {UPDATE_UNIT}`"
                )
            } else {
                "this update has ended, and the outcome of a later update has replaced its outcome"
                    .to_owned()
            }));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Waits until the process of the unit has ended, but no longer than [`END_TIMEOUT`]. The process
/// holds the lock for updates, so the next `firstboot update` would be refused until then.
fn wait_until_ended() -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < END_TIMEOUT && systemd::main_process(UPDATE_UNIT)?.is_some() {
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Shows the complete lines of the log that follow the first `seen` bytes, and returns their
/// length.
fn tail(seen: u64, quiet: bool) -> Result<u64> {
    let Ok(mut file) = files::open(Path::new(paths::UPDATE_LOG)) else {
        return Ok(0);
    };
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(seen))?;
    file.read_to_end(&mut text)?;
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let said = String::from_utf8_lossy(&text[..whole]);
    if quiet {
        eprint!("{said}");
    } else {
        show(&said)?;
    }
    Ok(whole as u64)
}

impl OrderOutcome {
    /// Returns the exit code of the command, or an error if the node was not updated. Prints the
    /// reason why an image failed.
    pub(super) fn exit(&self) -> Result<Option<Exit>> {
        match self.end {
            UpdateResult::Updated | UpdateResult::RolledBack => Ok(None),
            UpdateResult::Reverted => {
                eprintln!(
                    "firstboot: image {} was rolled back: {}",
                    self.serial, self.why
                );
                Ok(Some(Exit::Reverted))
            }
            UpdateResult::NewImageKept => {
                eprintln!("firstboot: image {} failed: {}", self.serial, self.why);
                Ok(Some(Exit::Kept))
            }
            UpdateResult::NotUpdated => {
                Err(not_ready(format!("the node was not updated: {}", self.why)))
            }
            UpdateResult::Refused => Err(refused(self.why.clone())),
        }
    }
}
