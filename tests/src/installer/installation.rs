//! The steps and the result of an installation.

use anyhow::{Result, bail};

use super::anaconda::Plan;
use super::kickstart::{Command, Kickstart, Kind};
use super::script::Script;

/// The result of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every step succeeded, and the machine restarts. Failures of scripts without --erroronfail
    /// are in the log.
    Installed,
    /// This command switched the machine off.
    PoweredOff(String),
    /// The machine restarts with an incomplete system on its disk. The text is the reason or the
    /// command.
    Restarted(String),
    /// anaconda has ended for this reason. The machine stays on, and nothing reports the failure.
    Dead(String),
}

/// The steps and the result of an installation.
#[derive(Debug, Clone)]
pub struct Installation {
    /// How the installation ended.
    pub outcome: Outcome,
    /// The kickstart that was carried out, including the parts that `%pre` wrote. Empty if the
    /// installation ended before this kickstart was parsed.
    pub kickstart: Kickstart,
    /// The actions that anaconda derived from the kickstart. If the installation ended before
    /// anaconda derived them, the plan contains at most the final action.
    pub plan: Plan,
    /// The firmware's boot order at the end, or `None` for a machine with a BIOS.
    pub boot_order: Option<Vec<u16>>,
    /// The scripts that ran, in order, including those that ran while the machine was shutting
    /// down.
    pub scripts: Vec<Script>,
}

impl Installation {
    /// Returns the output of all scripts, each under a line with the script's name and the way in
    /// which the script ended.
    pub fn log(&self) -> String {
        let parts = self
            .scripts
            .iter()
            .map(|script| format!("--- {}: {:?}\n{}", script.name, script.ended, script.output));
        parts.collect()
    }

    /// Returns an error with the log unless the installation succeeded.
    pub fn installed(&self) -> Result<()> {
        match &self.outcome {
            Outcome::Installed => Ok(()),
            other => bail!(
                "the installation ended as {other:?}; its log:\n{}",
                self.log()
            ),
        }
    }

    /// Returns the commands with that name, in file order.
    pub fn commands(&self, name: &str) -> Vec<&Command> {
        self.kickstart
            .commands
            .iter()
            .filter(|command| command.name == name)
            .collect()
    }

    /// Returns the lines of all `%packages` sections, without comments and empty lines.
    pub fn packages(&self) -> Vec<String> {
        let lines = self
            .kickstart
            .sections(Kind::Packages)
            .flat_map(|section| section.body.lines());
        let bare = lines.map(|line| line.split('#').next().unwrap_or_default().trim());
        bare.filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }
}
