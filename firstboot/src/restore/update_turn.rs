//! Refuses a restore while a member has the turn to update itself. The restore stops the etcd of
//! all members, so the new image would fail its health check, and the restored cluster would
//! contain the mark of a failed release.

use std::collections::BTreeSet;

use anyhow::Result;
use members::keys::{KeyState, TURN, UpdateTurn};
use recipes::Label;
use recipes::cluster::Member;

use super::answers;
use super::update_records::UpdateRecords;
use crate::exit::not_ready;
use crate::identity::Identity;
use crate::reason::Reason;

/// Refuses the restore if a member that takes part has the turn. Allows the restore if the cluster
/// has no quorum. Without a quorum, the operator cannot release the turn, and a restore may be the
/// only way to get a quorum.
pub(super) fn check(identity: &Identity, without: &BTreeSet<Label>) -> Result<()> {
    let members = &identity.cluster.members;
    // Without a quorum, a linearizable read on each member fails only after a timeout. Therefore,
    // read the members' own data first. The linearizable reads are necessary only if this data
    // contains a turn or cannot be read.
    let records = UpdateRecords::of_cluster(&identity.cluster);
    if records.is_some_and(|records| records.turn.is_none()) {
        return Ok(());
    }
    let read = |client| async move { KeyState::<UpdateTurn>::read(&client, TURN).await };
    let turns = answers::of_members(members.iter().map(Member::client_url), read)?;
    let names = members.iter().map(|member| member.name.clone());
    let names: Vec<Label> = names.filter(|name| !without.contains(name)).collect();
    let turn = turns
        .into_iter()
        .filter_map(|turn| turn.value)
        .find(|turn| prevents(turn, &identity.node.name, &names));
    turn.map_or(Ok(()), |turn| Err(not_ready(obstacle(&turn))))
}

/// Returns whether the turn prevents the restore of these members on the node `own`. The node's own
/// turn prevents the restore if other members take part, because they refuse the restore too.
pub(super) fn prevents(turn: &UpdateTurn, own: &Label, members: &[Label]) -> bool {
    members.contains(&turn.node) && (turn.node != *own || members.len() > 1)
}

/// Returns the reason why the members must not be restored now.
pub(super) fn obstacle(turn: &UpdateTurn) -> Reason {
    let node = &turn.node;
    turn.reason().map(|why| {
        format!(
            "{why}. A restore would make this update fail. Wait until the update has ended. If {node} is no longer \
             updating itself, run `firstboot update --break-turn {node}`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turn_of_a_member_that_takes_part_prevents_the_restore() {
        let label = |name: &str| name.parse::<Label>().unwrap();
        let turn = |node| UpdateTurn {
            node: label(node),
            serial: 7,
            since: 0,
        };
        let members = ["etcd-1", "etcd-2"].map(label);
        for (node, members, expected) in [
            ("etcd-1", &members[..], true),
            ("etcd-2", &members[..], true),
            ("etcd-3", &members[..], false),
            ("etcd-1", &members[..1], false),
        ] {
            let prevented = prevents(&turn(node), &label("etcd-1"), members);
            assert_eq!(prevented, expected, "{node} {members:?}");
        }
        let why = obstacle(&turn("etcd-2")).to_string();
        assert!(
            why.starts_with("etcd-2 has held the turn, for image 7"),
            "{why}"
        );
        assert!(why.ends_with("--break-turn etcd-2` [update-turn]"), "{why}");
    }
}
