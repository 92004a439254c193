//! `firstboot run --without NAME…`: bootstraps a cluster without members that are not available.

use std::collections::BTreeSet;

use anyhow::Result;
use recipes::Label;

use crate::barrier::{exclusion_obstacle, too_late};
use crate::exit::refused;
use crate::identity;
use crate::journal::{Event, NodeState};
use crate::operator;
use crate::output::say;
use crate::reason::{Reason, ReasonId};
use crate::systemd::FIRSTBOOT_UNIT;

/// Writes the names of the excluded members to the journal, so that firstboot.service continues
/// without these members. Refuses if these members cannot be excluded.
pub(crate) fn record(names: &BTreeSet<Label>) -> Result<()> {
    let cluster = identity::cluster()?;
    operator::with_journal(|journal| {
        let own = journal.last(|event| match event {
            Event::IdentityAccepted { name, .. } => Some(name.clone()),
            _ => None,
        });
        let state = NodeState::of(journal);
        let obstacle = too_late(&state)
            .or_else(|| only_joins(&state))
            .or_else(|| exclusion_obstacle(names, &cluster, own.as_ref(), &state));
        if let Some(why) = obstacle {
            return Err(refused(why));
        }
        journal.add(Event::MembersExcluded {
            names: names.clone(),
        })
    })?;
    let names: Vec<&str> = names.iter().map(Label::as_str).collect();
    say(format!(
        "this node no longer waits for {}. Run the same command on each of the other members; `systemctl status \
         {FIRSTBOOT_UNIT}` shows the progress",
        names.join(", ")
    ));
    Ok(())
}

/// Returns the reason why this node must not bootstrap a cluster, or `None` if it may bootstrap
/// one. The result does not depend on which members are excluded.
fn only_joins(state: &NodeState) -> Option<Reason> {
    state.was_member.then(|| {
        ReasonId::ExclusionRefused.because(
            "this node was a member and its data is lost, so it only joins a running cluster. Start a member that has \
             its data, or restore a snapshot: `firstboot restore` has its own option --without",
        )
    })
}
