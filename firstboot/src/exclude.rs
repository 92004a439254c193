//! `firstboot run --without NAME…`: the operator's way past members that will not come.

use std::collections::BTreeSet;

use anyhow::Result;
use recipes::Label;

use crate::barrier::{objection, too_late};
use crate::exit::refused;
use crate::identity;
use crate::journal::{Event, NodeState};
use crate::operator::{self, UNIT};
use crate::output::say;

/// Writes down whom the cluster should begin without; firstboot.service then goes on with that.
pub(crate) fn record(names: &BTreeSet<Label>) -> Result<()> {
    let cluster = identity::cluster()?;
    operator::with_journal(|journal| {
        let own = journal.last(|event| match event {
            Event::Accepted { name, .. } => Some(name.clone()),
            _ => None,
        });
        let state = NodeState::of(journal);
        if let Some(why) = too_late(&state).or_else(|| objection(names, &cluster, own.as_ref(), &state)) {
            return Err(refused(why));
        }
        journal.add(Event::Without { names: names.clone() })
    })?;
    let names: Vec<&str> = names.iter().map(Label::as_str).collect();
    say(format!(
        "from now on this node waits for all but {}. Say the same on each of the others; `systemctl status {UNIT}` \
         shows how it goes on",
        names.join(", ")
    ));
    Ok(())
}
