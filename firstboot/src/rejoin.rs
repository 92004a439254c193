//! `firstboot run --rejoin`: a member that was removed, or left, is to be taken in again, as a new one.

use anyhow::Result;

use crate::exit::refused;
use crate::journal::{Event, MembershipIntent, NodeState};
use crate::leave;
use crate::metadata::SourceLog;
use crate::node::identify;
use crate::operator::{self, UNIT};
use crate::output::say;

/// Writes that down, if it is so; firstboot.service puts the old data aside and goes the way of a node with a new disk.
pub(crate) fn record() -> Result<()> {
    let (identity, _) = identify(&mut SourceLog::default())?;
    operator::with_journal(|journal| {
        let member = match NodeState::of(journal).intent {
            MembershipIntent::Rejoining => return Ok(()),
            // Who left was removed, whether anybody can be asked or not.
            MembershipIntent::Left(member) => member,
            MembershipIntent::None | MembershipIntent::Leaving(_) => {
                let member = leave::own(journal)?;
                if !leave::is_removed(&identity, journal, member)? {
                    return Err(refused(format!(
                        "this node is still the member {member:x} of its cluster. `firstboot leave` would take it out"
                    )));
                }
                member
            }
        };
        journal.add(Event::Rejoin { member })
    })?;
    say(format!(
        "this node puts its old data aside and joins its cluster as a new member; `systemctl status {UNIT}` shows how it \
         goes on"
    ));
    Ok(())
}
