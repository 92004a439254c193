//! Releases a turn that this node took before it got a new disk.

use std::path::Path;

use anyhow::Result;

use super::cluster::Agreed;
use crate::etcd::{Client, installed_credentials};
use crate::identity::Identity;
use crate::output::say;
use crate::{files, paths};

/// Releases a turn that this node took when it had its previous disk: the node was reinstalled
/// during an update, and its image is complete. A failure is only logged, because the operator can
/// release the turn.
pub(crate) fn return_turn_of_previous_self(identity: &Identity) {
    if let Err(error) = give_back(identity) {
        say(format!(
            "cannot find out whether this node has the turn to update itself: {error:#}"
        ));
    }
}

fn give_back(identity: &Identity) -> Result<()> {
    // The order stays on the disk for as long as the node with this disk may have the turn.
    if files::exists(Path::new(paths::UPDATE_STATE))? {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = Client::connect(paths::OWN_CLIENT_URL, &installed_credentials()?).await?;
        let agreed = Agreed::read(&client, 0).await?;
        if agreed.turn.value.as_ref().is_some_and(|turn| turn.node == identity.node.name)
            && agreed.give_on(&client, 0, None, true).await?
        {
            say("this node had the turn to update itself before it got a new disk; it releases the turn");
        }
        Ok(())
    })
}
