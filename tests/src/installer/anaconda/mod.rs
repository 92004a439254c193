//! Determines the actions of anaconda 21.48.22.159 for a kickstart. Other modules carry out these
//! actions.
//!
//! Comments in this model name the modelled functions of anaconda, pykickstart and blivet.
//! `said.txt` contains the output of the real classes for many kickstarts, and a test compares that
//! output with the model's output.

mod automatic;
mod commands;
mod configuration;
mod data;
mod software;
mod storage;
mod types;
mod values;
mod volumes;

use super::hardware::Hardware;
use super::kickstart::Kickstart;

pub(super) use data::Data;
pub(super) use types::Failure;
pub use types::{Effect, Partition, Plan, Selection, User, Volume};
pub use values::FinalAction;

/// Returns the actions of anaconda on this machine for a kickstart whose `%pre` has run. The errors
/// are those that end anaconda before it installs the packages.
pub(super) fn plan(
    kickstart: &Kickstart,
    hardware: &Hardware,
    words: &str,
) -> Result<Plan, Failure> {
    let data = Data::read(kickstart, hardware)?;
    let mut plan = Plan {
        end: data.end,
        ..Plan::default()
    };
    // The program `anaconda` starts chronyd after it has read the kickstart.
    if !data.timezone.nontp {
        plan.before.push(Effect::Installer(vec![
            "systemctl".into(),
            "start".into(),
            "chronyd".into(),
        ]));
        // Models Timezone.setup.
        if data.excluded.contains("chrony") {
            plan.before.push(Effect::Installer(vec![
                "systemctl".into(),
                "stop".into(),
                "chronyd".into(),
            ]));
        }
    }
    storage::decide(&data, hardware, words, &mut plan)?;
    // Models `doInstall` in install.py: the setup of authconfig, firewall and timezone.
    let services = configuration::services(&data);
    plan.software = software::select(&data, hardware, &plan);
    // Models `doConfiguration` in install.py.
    plan.after = configuration::effects(&data, &services);
    Ok(plan)
}

#[cfg(test)]
mod tests;
