//! How an installation ends, and whether the machine restarts or is switched off.

use anyhow::Result;

use super::anaconda::{End, Stop};
use super::installation::{Installation, Outcome};
use super::kickstart::Section;
use super::log;
use super::script::{Ended, Stage};

/// The reason why the installation ends before the last step.
#[derive(Debug)]
pub(super) enum Break {
    /// anaconda ends.
    Stop(Stop),
    /// This command switched the machine off or restarted it.
    Power(String),
}

impl From<Stop> for Break {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl Break {
    /// Marks the break as one that happens before anaconda has registered its exit handler.
    pub(super) fn early(self) -> Self {
        match self {
            Self::Stop(Stop::Late(reason)) => Self::Stop(Stop::Early(reason)),
            other => other,
        }
    }
}

/// Returns the outcome for the machine. The function exitHandler of the program anaconda asks
/// systemd for the action that the kickstart names. systemd first stops the installer's units,
/// including any unit that the kickstart has started.
pub(super) fn end(
    stage: &Stage<'_>,
    installation: &mut Installation,
    ended: Result<(), Break>,
) -> Result<Outcome> {
    let reason = match &ended {
        Err(Break::Power(words)) => return Ok(outcome(Some(words), words)),
        Err(Break::Stop(Stop::Early(reason) | Stop::Late(reason))) => Some(reason.clone()),
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
        (Err(Break::Stop(Stop::Early(reason))), _) => Outcome::Dead(reason),
        (_, Some(end @ (End::Poweroff | End::Halt))) => {
            outcome(reason.as_deref(), &format!("systemctl --no-wall {end}"))
        }
        // anaconda also reboots if the kickstart does not request anything.
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
