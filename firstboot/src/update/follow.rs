//! Shows what the unit of updates says, until the order has ended. The unit does not depend on who watches it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::state::{End, Outcome, State};
use super::worker;
use crate::exit::{Exit, failed, not_ready, refused};
use crate::output::show;
use crate::{files, paths, systemd};

const LOOK: Duration = Duration::from_millis(100);
/// For so many looks the unit may have no process: systemd starts it again after some seconds.
const AWAY: u32 = 300;

/// Follows an order; what is said goes to standard error where standard output is for programs.
pub(super) fn follow(id: &str, quiet: bool) -> Result<Outcome> {
    let (mut seen, mut away) = (0, 0);
    loop {
        // The outcome first: what was said before it is shown then.
        let outcome = Outcome::read()?.filter(|outcome| outcome.id == id);
        seen += tail(seen, quiet)?;
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
        away = if systemd::main_process(worker::UNIT)?.is_some() { 0 } else { away + 1 };
        if away > AWAY {
            let begun = State::read()?.is_some();
            return Err(failed(if begun {
                format!("{} does not run, and the update is not at its end: `systemctl status {0}`", worker::UNIT)
            } else {
                "the update has ended, and another order has begun since".to_owned()
            }));
        }
        std::thread::sleep(LOOK);
    }
}

/// Shows what was said after the first `seen` bytes, and gives its length.
fn tail(seen: u64, quiet: bool) -> Result<u64> {
    let Ok(mut file) = files::open(Path::new(paths::UPDATE_LOG)) else { return Ok(0) };
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(seen))?;
    file.read_to_end(&mut text)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let said = String::from_utf8_lossy(&text[..whole]);
    if quiet {
        eprint!("{said}");
    } else {
        show(&said)?;
    }
    Ok(whole as u64)
}

impl Outcome {
    /// The exit code of the command.
    pub(super) fn exit(&self) -> Result<Option<Exit>> {
        match self.end {
            End::Updated | End::RolledBack => Ok(None),
            End::TakenBack => {
                eprintln!("firstboot: the image {} was taken back: {}", self.serial, self.why);
                Ok(Some(Exit::TakenBack))
            }
            End::GivenUp => Err(not_ready(format!("the node was not updated: {}", self.why))),
            End::Refused => Err(refused(self.why.clone())),
        }
    }
}
