//! Keeps the turn that an order has taken.

use anyhow::Result;
use members::keys::UpdateTurn;
use members::timestamp::now;

use super::super::preconditions;
use super::super::state::UpdateState;
use super::super::this_node::ThisNode;
use super::super::update_keys::{TurnDecision, UpdateKeys};
use crate::etcd::{Client, installed_credentials};
use crate::exit::not_ready;
use crate::reason::ReasonId;

/// Returns the turn of this order, as etcd stores it.
pub(super) fn turn_of(state: &UpdateState) -> UpdateTurn {
    UpdateTurn {
        node: state.node.clone(),
        serial: state.order.serial,
        since: now(),
    }
}

/// Ensures that this node has the turn. If an operator has released the turn and no other node has
/// taken it, takes the turn again.
///
/// # Errors
/// Returns a "not ready" error if another node has the turn.
pub(super) async fn keep_turn(state: &UpdateState, own: &ThisNode) -> Result<()> {
    let client = any_client(own).await?;
    let update_keys = UpdateKeys::read(&client, state.order.serial).await?;
    match update_keys.decide_turn(&state.node) {
        TurnDecision::Wait(why) | TurnDecision::Refuse(why) => return Err(not_ready(why)),
        TurnDecision::Take
            if !update_keys
                .take_transaction(&turn_of(state))?
                .execute(&client)
                .await? =>
        {
            return Err(not_ready(
                ReasonId::UpdateTurn.because("another node took the turn first"),
            ));
        }
        TurnDecision::Take | TurnDecision::Held => {}
    }
    Ok(())
}

/// Connects to etcd on this node, or to another member if etcd on this node is down.
pub(super) async fn any_client(own: &ThisNode) -> Result<Client> {
    let credentials = installed_credentials()?;
    match preconditions::own_member(&credentials).await {
        Ok(client) => Ok(client),
        Err(_) => preconditions::any_member(own, &credentials).await,
    }
}
