//! Takes the turn, checks it again before etcd stops, and releases it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::preconditions::{self, MayBeMissing};
use super::super::state::UpdateState;
use super::super::this_node::ThisNode;
use super::super::update_keys::{self, TurnDecision, UpdateKeys};
use super::super::{stage, window};
use super::downgrade::{cancel_downgrade, target};
use super::held_turn::{any_client, turn_of};
use super::steps::say;
use crate::etcd::{Client, installed_credentials};
use crate::image_integrity;
use crate::reason::{Reason, ReasonId};
use crate::runtime::block_on;
use members::keys::{FailedRelease, KeyState, TURN, UpdateTurn};
use members::timestamp::now;

/// The pause between two checks of the cluster.
pub(super) const CHECK_PAUSE: Duration = Duration::from_secs(2);
/// The number of consecutive failed checks after which a member is considered unable to serve
/// clients.
const MAX_ERRORS: u32 = 3;

/// Decides whether this member may start its order, and returns the decision. If the member may
/// start, takes the turn. For an update or a reinstallation, first takes a snapshot, unless a
/// recent snapshot exists.
pub(super) async fn acquire_turn(
    state: &mut UpdateState,
    own: &ThisNode,
    snapshot: &mut bool,
) -> Result<TurnDecision> {
    let (client, update_keys, decision) = ask(state, own).await?;
    if !matches!(decision, TurnDecision::Take | TurnDecision::Held) {
        return Ok(decision);
    }
    if decision == TurnDecision::Held && !state.turn {
        // The node took this turn before it was installed again. From now on, the turn belongs to
        // this order, which releases it regardless of the outcome.
        state.turn = true;
        state.write()?;
    }
    if state.order.release.is_some() {
        // Do not check the files before a reinstallation, because the installation replaces altered
        // files.
        if state.order.reinstall.is_none() {
            image_integrity::verify_changed()?;
        }
        if !*snapshot && !preconditions::has_snapshot(&client).await? {
            say("taking a snapshot first");
            let begun = now();
            preconditions::take_snapshot()?;
            update_keys::record_snapshot(&client, begun).await?;
            *snapshot = true;
        }
    }
    // Check the window last, because a snapshot may have taken a long time.
    if let Some(why) = window::obstacle(state.order.window) {
        return Ok(TurnDecision::Wait(why));
    }
    if decision == TurnDecision::Take {
        // Write the state first, so that the node releases the turn even after a power cut.
        state.turn = true;
        state.write()?;
        if !update_keys
            .take_transaction(&turn_of(state))?
            .execute(&client)
            .await?
        {
            return Ok(TurnDecision::Wait(
                ReasonId::UpdateTurn.because("another node took the turn first"),
            ));
        }
        if !preconditions::keeps_quorum(&own.cluster) {
            say("the cluster has too few members to keep its quorum while this member restarts");
        }
    }
    Ok(TurnDecision::Held)
}

/// Waits for [`CHECK_PAUSE`] before the next check. If another member has the turn, the wait ends
/// earlier when that member releases the turn.
pub(super) fn wait_for_turn(own: &ThisNode) {
    let begun = Instant::now();
    let other_has_turn: Result<bool> = block_on(async {
        let client = preconditions::own_member(&installed_credentials()?).await?;
        let turn: KeyState<UpdateTurn> = KeyState::read(&client, TURN).await?;
        if turn.value.is_none_or(|turn| turn.node == own.node) {
            return Ok(false);
        }
        client
            .wait_for_change(TURN, turn.revision, CHECK_PAUSE)
            .await
            .map(|()| true)
    });
    if !other_has_turn.unwrap_or(false) {
        std::thread::sleep(CHECK_PAUSE.saturating_sub(begun.elapsed()));
    }
}

/// Checks again, immediately before etcd stops, that this node has the turn and that the cluster
/// can spare this member. Since the first check, this node may have taken a snapshot, another
/// member may have failed, or an operator may have halted updates or released the turn.
pub(super) async fn may_stop(state: &UpdateState, own: &ThisNode) -> Result<TurnDecision> {
    Ok(match ask(state, own).await?.2 {
        TurnDecision::Take => TurnDecision::Wait(
            ReasonId::UpdateTurn.because("an operator released this node's turn"),
        ),
        other => other,
    })
}

/// Returns an etcd client, the update keys, and the decision on whether this node may take the
/// turn or use the turn that it already has. The decision also depends on whether the cluster can
/// spare this member.
async fn ask(state: &UpdateState, own: &ThisNode) -> Result<(Client, UpdateKeys, TurnDecision)> {
    let credentials = installed_credentials()?;
    // For a rollback, query any member, because a node whose etcd is not running can also be rolled
    // back.
    let back = state.order.release.is_none();
    let client = if back {
        preconditions::any_member(own, &credentials).await?
    } else {
        preconditions::own_member(&credentials).await?
    };
    let update_keys = UpdateKeys::read(&client, state.order.serial).await?;
    let mut decision = update_keys.decide(&state.node, state.order.serial, back);
    if matches!(decision, TurnDecision::Take | TurnDecision::Held)
        && let Some(why) = preconditions::obstacle(
            own,
            &credentials,
            (back, &may_be_missing(state)?),
            target(state, own)?,
        )
        .await?
    {
        decision = TurnDecision::Wait(why);
    }
    Ok((client, update_keys, decision))
}

/// Returns which members may be missing while this node executes its order. The recipe of a staged
/// image shows which members were removed. For a rollback, no image is staged, so no member may be
/// missing.
fn may_be_missing(state: &UpdateState) -> Result<MayBeMissing> {
    let staged = match state.order.release {
        Some(_) => stage::staged_cluster()?,
        None => None,
    };
    Ok(staged.map_or(MayBeMissing::None, |next| {
        MayBeMissing::NotIn(next.members.into_iter().map(|member| member.name).collect())
    }))
}

/// Waits while this member serves clients and the cluster cannot spare it. If another member has
/// failed in the meantime, the quorum may still need this member, even though this member's image
/// has failed the health check.
pub(super) fn wait_until_spared(state: &UpdateState, own: &ThisNode) {
    let mut logged = String::new();
    let mut errors = 0;
    loop {
        let why = match block_on(is_needed(state, own)) {
            Ok(None) => return,
            Ok(Some(why)) => {
                errors = 0;
                why.to_string()
            }
            // A single error may be caused by an election, but several consecutive errors mean that
            // this member does not serve clients.
            Err(error) => {
                errors += 1;
                if errors == MAX_ERRORS {
                    return;
                }
                format!("{error:#}")
            }
        };
        if why != logged {
            say(format!(
                "waiting before restoring the previous image: {why}"
            ));
            logged = why;
        }
        std::thread::sleep(CHECK_PAUSE);
    }
}

/// Returns the reason why this member, which serves clients, must not stop now, or `None` if it may
/// stop. Takes the turn again if an operator has released it.
async fn is_needed(state: &UpdateState, own: &ThisNode) -> Result<Option<Reason>> {
    let credentials = installed_credentials()?;
    let client = preconditions::own_member(&credentials).await?;
    client.healthy().await?;
    let update_keys = UpdateKeys::read(&client, state.order.serial).await?;
    match &update_keys.turn.value {
        Some(turn) if turn.node == state.node => {
            Ok(preconditions::unhealthy(own, &credentials, true, &MayBeMissing::None).await)
        }
        Some(turn) => Ok(Some(turn.reason())),
        // An operator has released the turn, so take the turn again.
        None => {
            let transaction = update_keys.take_transaction(&turn_of(state))?;
            transaction.execute(&client).await?;
            Ok(Some(
                ReasonId::UpdateTurn.because("this node is taking its turn again"),
            ))
        }
    }
}

/// Releases the turn, and marks the image's release as failed if `failed` is given. Tries without a
/// time limit, because no other member may start an update until the turn is released.
pub(super) fn release_turn_patiently(
    state: &UpdateState,
    own: &ThisNode,
    failed: Option<&FailedRelease>,
) -> Result<()> {
    loop {
        let Err(error) = block_on(release_turn(state, own, failed)) else {
            return Ok(());
        };
        say(format!("cannot release the turn yet: {error:#}"));
        std::thread::sleep(CHECK_PAUSE);
    }
}

/// Cancels a downgrade that the order enabled, and then releases the turn. If etcd on this node is
/// down, sends the requests to another member: an order that has not changed anything must end even
/// if etcd on this node stays down.
async fn release_turn(
    state: &UpdateState,
    own: &ThisNode,
    failed: Option<&FailedRelease>,
) -> Result<()> {
    let client = any_client(own).await?;
    // Do not cancel the downgrade if another node has the turn, because the downgrade may belong to
    // that node.
    let update_keys = UpdateKeys::read(&client, state.order.serial).await?;
    if !matches!(update_keys.decide_turn(&state.node), TurnDecision::Wait(_)) {
        cancel_downgrade(state, own).await?;
    }
    loop {
        let update_keys = UpdateKeys::read(&client, state.order.serial).await?;
        let Some(transaction) =
            update_keys.release_transaction(&state.node, state.order.serial, failed)?
        else {
            return Ok(());
        };
        if transaction.execute(&client).await? {
            return Ok(());
        }
    }
}
