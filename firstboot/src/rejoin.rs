//! `firstboot run --rejoin`: lets a node that left, or whose member was removed, join its cluster
//! again as a new member.

use anyhow::Result;

use crate::exit::refused;
use crate::journal::{Event, MembershipIntent, NodeState};
use crate::metadata::SourceLog;
use crate::node::obtain_identity;
use crate::operator;
use crate::output::say;
use crate::reason::ReasonId;
use crate::systemd::FIRSTBOOT_UNIT;
use crate::{leave, update};

/// If this node is no longer a member, writes the order to rejoin to the journal. firstboot.service
/// then archives the old data and joins like a node with a new disk.
pub(crate) fn record() -> Result<()> {
    let (identity, _) = obtain_identity(&mut SourceLog::default())?;
    update::refuse_during_replacement()?;
    operator::with_journal(|journal| {
        let member = match NodeState::of(journal).intent {
            MembershipIntent::Rejoining => return Ok(()),
            // The member of a node that has left has already been removed, so firstboot need not
            // query the other members.
            MembershipIntent::Left(member) => member,
            MembershipIntent::None | MembershipIntent::Leaving(_) => {
                let member = leave::own_member_id(&identity, journal)?;
                if !leave::is_removed(&identity, journal, member)? {
                    return Err(refused(ReasonId::StillAMember.because(format!(
                        "this node is still the member {member:x} of its cluster. To remove it, run `firstboot leave`"
                    ))));
                }
                member
            }
        };
        journal.add(Event::Rejoin { member })
    })?;
    say(format!(
        "this node archives its old data and joins its cluster as a new member; `systemctl status {FIRSTBOOT_UNIT}` shows the \
         progress"
    ));
    Ok(())
}
