//! Releases a turn that this node took before it was installed again.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::Label;

use super::update_keys::UpdateKeys;
use crate::etcd::{Client, installed_credentials};
use crate::identity::Identity;
use crate::output::say;
use crate::runtime::block_on;
use crate::{files, paths};
use members::keys::{KeyState, UpdateTurn};

/// The time for which a rebuilt node tries to release its turn.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(300);
/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Releases a turn that this node took before its installation. If the node still has this turn,
/// the node was reinstalled during an update, and its new image is complete. If etcd does not
/// answer, the function tries again for five minutes, because no member starts an update until the
/// turn is released. If all attempts fail, the function only logs the failure, because the operator
/// can release the turn.
pub(crate) fn release_turn_of_previous_disk(identity: &Identity) {
    let begun = Instant::now();
    while let Err(error) = try_release_turn(identity) {
        say(format!(
            "cannot release the turn that this node may have had before it was installed again: {error:#}"
        ));
        if begun.elapsed() > RELEASE_TIMEOUT {
            return;
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

fn try_release_turn(identity: &Identity) -> Result<()> {
    let node = &identity.node.name;
    block_on(async {
        let client = Client::connect(paths::OWN_CLIENT_URL, &installed_credentials()?).await?;
        let update_keys = UpdateKeys::read(&client, 0).await?;
        // A node stores an order before it takes the turn, and deletes the order after it has
        // released the turn. Read the turn before the order. Otherwise, a new order could take the
        // turn between the two reads, and this turn would seem to precede the installation.
        let has_order = files::exists(Path::new(paths::UPDATE_STATE))?;
        if is_of_previous_disk(&update_keys.turn, node, has_order)
            && let Some(transaction) = update_keys.release_transaction(node, 0, None)?
            && transaction.execute(&client).await?
        {
            say(
                "this node had the turn to update itself before it was installed again; releasing \
                 the turn",
            );
        }
        Ok(())
    })
}

/// Returns whether this node took the turn before its installation.
pub(super) fn is_of_previous_disk(
    turn: &KeyState<UpdateTurn>,
    node: &Label,
    has_order: bool,
) -> bool {
    turn.is_of(node) && !has_order
}
