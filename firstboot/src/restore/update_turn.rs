//! Refuses a restore while another member has the turn to update itself. The restore stops the
//! etcd of the other members, so the new image would fail its health check, and the restored cluster
//! would contain the mark of a failed release.

use std::collections::BTreeSet;

use anyhow::Result;
use members::keys::{KeyState, TURN, UpdateTurn};
use recipes::Label;
use recipes::cluster::Member;

use super::answers;
use super::update_marks::UpdateMarks;
use crate::exit::not_ready;
use crate::identity::Identity;
use crate::reason::Reason;

/// Refuses the restore if another member that takes part has the turn. Without a quorum, no member
/// answers, and the function does not refuse the restore: in this case, the operator cannot release
/// the turn, and a restore may be the only way to get a quorum.
pub(super) fn check(identity: &Identity, without: &BTreeSet<Label>) -> Result<()> {
    let members = &identity.cluster.members;
    // Without a quorum, each member answers a linearizable read only after a timeout. Therefore,
    // read the members' own data first, and continue only if it contains a turn.
    let marks = UpdateMarks::of_cluster(&identity.cluster);
    if marks.is_some_and(|marks| marks.turn.is_none()) {
        return Ok(());
    }
    let read = |client| async move { KeyState::<UpdateTurn>::read(&client, TURN).await };
    let turns = answers::of_members(members.iter().map(Member::client_url), read)?;
    let names = members.iter().map(|member| member.name.clone());
    let names: Vec<Label> = names.filter(|name| !without.contains(name)).collect();
    let turn = turns
        .into_iter()
        .filter_map(|turn| turn.value)
        .find(|turn| takes_part(turn, &identity.node.name, &names));
    turn.map_or(Ok(()), |turn| Err(not_ready(obstacle(&turn))))
}

/// Returns whether the turn belongs to a member other than `own` that takes part in the restore.
/// The command checks the update of its own node separately.
pub(super) fn takes_part(turn: &UpdateTurn, own: &Label, members: &[Label]) -> bool {
    turn.node != *own && members.contains(&turn.node)
}

/// Returns the reason why the members must not be restored now.
pub(super) fn obstacle(turn: &UpdateTurn) -> Reason {
    let node = &turn.node;
    turn.reason().map(|why| {
        format!(
            "{why}. A restore would make this update fail. Wait until the update has ended. If {node} does not update \
             itself any more, run `firstboot update --break-turn {node}`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_turn_of_another_member_that_takes_part_prevents_the_restore() {
        let label = |name: &str| name.parse::<Label>().unwrap();
        let turn = |node| UpdateTurn {
            node: label(node),
            serial: 7,
            since: 0,
        };
        let members = ["etcd-1", "etcd-2"].map(label);
        for (node, expected) in [("etcd-1", false), ("etcd-2", true), ("etcd-3", false)] {
            assert_eq!(
                takes_part(&turn(node), &members[0], &members),
                expected,
                "{node}"
            );
        }
        let why = obstacle(&turn("etcd-2")).to_string();
        assert!(
            why.starts_with("etcd-2 has held the turn, for image 7"),
            "{why}"
        );
        assert!(why.ends_with("--break-turn etcd-2` [update-turn]"), "{why}");
    }
}
