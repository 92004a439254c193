//! Transfers the leadership from a member that is about to stop, and removes members.

use anyhow::Result;

use super::list::MemberReport;
use crate::etcd::{Client, Credentials};
use crate::output::say;

/// If the member of `client` is the leader, transfers the leadership to the voter in `peers` that
/// has applied the most entries, so that clients need not wait for an election. Returns whether the
/// member was the leader.
pub(crate) async fn transfer_leadership(client: &Client, peers: &[MemberReport]) -> Result<bool> {
    let status = client.status().await?;
    let leads = status.leader == status.header.unwrap_or_default().member_id;
    if let Some(next) = peers.iter().max_by_key(|peer| peer.index).filter(|_| leads) {
        say(format!(
            "this node is the leader; transferring the leadership to {}",
            next.name
        ));
        client.move_leader(next.member_id).await?;
    }
    Ok(leads)
}

/// Removes a member through a request to another member.
pub(crate) async fn remove_member(url: &str, member: u64, credentials: &Credentials) -> Result<()> {
    let client = Client::connect(url, credentials).await?;
    client.remove(member).await
}
