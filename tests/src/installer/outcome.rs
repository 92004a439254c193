//! How an installation ends, and whether the machine restarts or is switched off.

use anyhow::Result;

use super::anaconda::{Failure, FinalAction};
use super::installation::{Installation, Outcome};
use super::kickstart::Section;
use super::log;
use super::script::{Ended, Stage};

/// The reason why the installation ends before the last step.
#[derive(Debug)]
pub(super) enum Interruption {
    /// anaconda ends.
    Failure(Failure),
    /// This command switched the machine off or restarted it.
    Power(String),
}

impl From<Failure> for Interruption {
    fn from(stop: Failure) -> Self {
        Self::Failure(stop)
    }
}

impl Interruption {
    /// Marks the interruption as one that happens before anaconda has registered its exit handler.
    pub(super) fn early(self) -> Self {
        match self {
            Self::Failure(Failure::Late(reason)) => Self::Failure(Failure::Early(reason)),
            other => other,
        }
    }
}

/// Logs the failure, stops the unit that the kickstart has started, and returns the outcome for the
/// machine. The function exitHandler of the program anaconda asks systemd for the action that the
/// kickstart names. systemd first stops the installer's units, including any unit that the
/// kickstart has started.
pub(super) fn end(
    stage: &Stage<'_>,
    installation: &mut Installation,
    ended: Result<(), Interruption>,
) -> Result<Outcome> {
    let reason = match &ended {
        Err(Interruption::Power(words)) => return Ok(outcome(Some(words), words)),
        Err(Interruption::Failure(Failure::Early(reason) | Failure::Late(reason))) => {
            Some(reason.clone())
        }
        Ok(()) => None,
    };
    let root = stage.environment.root();
    if let Some(reason) = &reason {
        log::write(&root, "anaconda.log", reason)?;
    }
    if let Some(unit) = stage.environment.started() {
        let section = Section::of_unit(&unit);
        let mut script = stage.run(&section, installation.scripts.len() + 1)?;
        script.name.clone_from(&unit);
        installation.scripts.push(script.clone());
        return Ok(match script.ended {
            Ended::Power(words) => outcome(reason.as_deref(), &words),
            Ended::Exited(code) => Outcome::Dead(format!("{unit} ended with exit code {code}")),
        });
    }
    Ok(match (ended, installation.plan.end) {
        (Err(Interruption::Failure(Failure::Early(reason))), _) => Outcome::Dead(reason),
        (_, Some(end @ (FinalAction::Poweroff | FinalAction::Halt))) => {
            outcome(reason.as_deref(), &format!("systemctl --no-wall {end}"))
        }
        // anaconda also reboots if the kickstart does not request a final action.
        _ => outcome(reason.as_deref(), "systemctl --no-wall reboot"),
    })
}

/// Returns the outcome for a machine that received this command, with the reason if the
/// installation did not finish.
fn outcome(unfinished: Option<&str>, words: &str) -> Outcome {
    let asked = words.trim_start_matches("reboot(2): ");
    if !asked.contains("reboot") && !asked.contains("restart") {
        return Outcome::PoweredOff(words.to_owned());
    }
    unfinished.map_or(Outcome::Installed, |reason| {
        Outcome::Restarted(reason.to_owned())
    })
}
