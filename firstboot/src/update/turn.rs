//! A turn that this node had before it got a new disk.

use std::path::Path;

use anyhow::Result;

use super::cluster::Agreed;
use crate::etcd::{Client, Credentials};
use crate::identity::Identity;
use crate::output::say;
use crate::{files, paths};

/// Gives a turn back that this node has and knows nothing of: it was rebuilt in the middle of an update, and its image is whole. What
/// goes wrong is said and is no reason to stop: the turn can be broken by the operator.
pub(crate) fn return_turn_of_previous_self(identity: &Identity) {
    if let Err(error) = give_back(identity) {
        say(format!("whether this node has a turn to update itself is not known: {error:#}"));
    }
}

fn give_back(identity: &Identity) -> Result<()> {
    // The order is on the disk before the turn is taken, and goes after it.
    if files::exists(Path::new(paths::UPDATE_STATE))? {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::connect(paths::OWN_CLIENT_URL, &Credentials::installed()?).await?;
        let agreed = Agreed::read(&client, 0).await?;
        if agreed.turn.value.as_ref().is_some_and(|turn| turn.node == identity.node.name)
            && agreed.give_on(&client, 0, None, true).await?
        {
            say("this node had the turn to update itself before it got a new disk; it is given on");
        }
        Ok(())
    })
}
