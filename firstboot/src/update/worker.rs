//! Executes an order in firstboot-update.service. After an interruption it continues from the state
//! on the disk.

mod steps;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::runtime::Runtime;

use super::cluster::{Agreed, Decision};
use super::probation::{Probation, Proof};
use super::state::{Phase, UpdateResult, UpdateState, Updated, boot};
use super::this_node::ThisNode;
use super::{preconditions, window};
use crate::etcd::{Client, installed_credentials};
use crate::exit::{Exit, code_of, reason_of};
use crate::lock::Lock;
use crate::reason::ReasonId;
use crate::{files, image_integrity, paths, systemd};
use members::keys::Failed;
use members::keys::UpdateTurn;
use members::moment::now;
use steps::{give_up_leadership, last_of, put_back, put_new, reboot, say};

/// The unit.
pub(super) const UNIT: &str = "firstboot-update.service";

/// The pauses between two checks of the cluster, and between two checks of this member.
const WAIT: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(500);
/// How long the member may take to become healthy on a new image.
const HEALTHY: Duration = Duration::from_secs(300);
/// The number of boots without a proof after which the new image has failed.
const BOOTS: u32 = 2;

/// Executes the order on the disk to its end.
pub(super) fn run() -> Result<()> {
    let _lock = Lock::take_updates()?;
    let Some(mut state) = UpdateState::read()? else {
        systemd::notify_ready();
        return Ok(());
    };
    recover(&mut state)?;
    if is_rebooting(&state) {
        // The reboot happens before firstboot.service and etcd start.
        reboot(&mut state)?;
    }
    // firstboot.service starts after this. From now on all files belong to one image.
    systemd::notify_ready();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    loop {
        let ended = match state.phase {
            Phase::Waiting => wait(&mut state, &runtime)?,
            Phase::Rebooting | Phase::RebootingBack => reboot(&mut state).map(|()| false)?,
            Phase::Replacing | Phase::Proving => wait_for_proof(&mut state, &runtime)?,
            Phase::TakingBack | Phase::Recovering => recovered(&state, &runtime)?,
        };
        if ended {
            return Ok(());
        }
    }
}

/// Whether the node must reboot before the update can continue.
const fn is_rebooting(state: &UpdateState) -> bool {
    matches!(state.phase, Phase::Rebooting | Phase::RebootingBack)
}

/// After an interrupted replacement, makes all files belong to one image again.
fn recover(state: &mut UpdateState) -> Result<()> {
    match state.phase {
        Phase::Waiting | Phase::Recovering => Ok(()),
        Phase::Replacing => {
            state.why = Some(
                "the node stopped while it exchanged files, for example because of a power cut; run `firstboot update` again".to_owned(),
            );
            put_back(state)
        }
        Phase::TakingBack => put_back(state),
        Phase::Rebooting | Phase::RebootingBack | Phase::Proving if state.boot == boot()? => Ok(()),
        // This is the boot that the update ordered.
        Phase::Rebooting => state.enter(Phase::Proving),
        Phase::RebootingBack => state.enter(Phase::Recovering),
        Phase::Proving if state.boots + 1 < BOOTS => {
            state.boots += 1;
            state.enter(Phase::Proving)
        }
        Phase::Proving => {
            (state.why, state.blame) = (
                Some(format!(
                    "the node booted {BOOTS} times and did not become healthy"
                )),
                true,
            );
            put_back(state)
        }
    }
}

/// Waits for its turn, and then replaces the files. Returns whether the order has ended.
fn wait(state: &mut UpdateState, runtime: &Runtime) -> Result<bool> {
    // An interrupted run of this unit may have stopped firstboot.service before it replaced any
    // files.
    systemd::start(crate::operator::UNIT)?;
    let own = ThisNode::read()?;
    let (mut logged, mut snapshot) = (String::new(), false);
    loop {
        let decision = match runtime.block_on(may_begin(state, &own, &mut snapshot)) {
            Ok(decision) => decision,
            Err(error) if code_of(&error) == Exit::Refused => Decision::Refuse(reason_of(&error)),
            Err(error) => Decision::Wait(reason_of(&error)),
        };
        match decision {
            Decision::Take | Decision::Mine => break,
            Decision::Refuse(why) => {
                return end(state, runtime, UpdateResult::Refused, why.to_string());
            }
            Decision::Wait(why) if now() >= state.order.until => {
                return end(state, runtime, UpdateResult::GivenUp, why.to_string());
            }
            Decision::Wait(why) => {
                let why = why.to_string();
                if why != logged {
                    say(format!("waiting: {why}"));
                    logged = why;
                }
                std::thread::sleep(WAIT);
            }
        }
    }
    if state.order.release.is_some() {
        put_new(state, runtime)?;
    } else {
        (state.why, state.blame) = (
            Some(format!(
                "an operator ordered the rollback on {}",
                state.node
            )),
            true,
        );
        runtime.block_on(give_up_leadership(&own));
        put_back(state)?;
    }
    Ok(false)
}

/// Ends an order before it has changed anything.
fn end(state: &UpdateState, runtime: &Runtime, end: UpdateResult, why: String) -> Result<bool> {
    say(format!("nothing changed: {why}"));
    if state.turn {
        release_turn_patiently(state, runtime, None)?;
    }
    files::remove_all(Path::new(paths::UPDATE_NEW))?;
    state.end(end, why).map(|_| true)
}

/// Takes the turn if this member may start, and returns the decision.
async fn may_begin(
    state: &mut UpdateState,
    own: &ThisNode,
    snapshot: &mut bool,
) -> Result<Decision> {
    let credentials = installed_credentials()?;
    // A member whose etcd is not running can be rolled back as well.
    let back = state.order.release.is_none();
    let client = if back {
        preconditions::any_member(own, &credentials).await?
    } else {
        preconditions::own_member(&credentials).await?
    };
    let agreed = Agreed::read(&client, state.order.serial).await?;
    let decision = agreed.decide(&state.node, state.order.serial, back);
    if !matches!(decision, Decision::Take | Decision::Mine) {
        return Ok(decision);
    }
    if let Some(why) = preconditions::objection(own, &credentials, back).await? {
        return Ok(Decision::Wait(why));
    }
    if !back {
        image_integrity::verify_changed()?;
    }
    if !*snapshot && !back && !preconditions::has_snapshot(&client).await? {
        say("taking a snapshot first");
        preconditions::take_snapshot()?;
        *snapshot = true;
    }
    // This check comes last, because a snapshot may have taken a long time.
    if let Some(why) = window::objection(state.order.window)? {
        return Ok(Decision::Wait(why));
    }
    if decision == Decision::Take {
        // This is written first, so that the node knows after a power cut that it may have the
        // turn.
        state.turn = true;
        state.write()?;
        let turn = UpdateTurn {
            node: state.node.clone(),
            serial: state.order.serial,
            since: now(),
        };
        if !agreed.take(&client, &turn).await? {
            return Ok(Decision::Wait(
                ReasonId::UpdateTurn.because("another node took the turn first"),
            ));
        }
        if !preconditions::keeps_quorum(&own.cluster) {
            say("the cluster has too few members to keep its quorum while this one restarts");
        }
    }
    Ok(Decision::Mine)
}

/// Releases the turn, and marks a failed release. While this node has the turn, only an operator
/// changes these keys.
async fn release_turn(client: &Client, state: &UpdateState, failed: Option<&Failed>) -> Result<()> {
    loop {
        let agreed = Agreed::read(client, state.order.serial).await?;
        let mine = agreed
            .turn
            .value
            .as_ref()
            .is_some_and(|turn| turn.node == state.node);
        if !mine && failed.is_none() {
            return Ok(());
        }
        if agreed
            .give_on(client, state.order.serial, failed, mine)
            .await?
        {
            return Ok(());
        }
    }
}

/// Waits until the new image has proved itself, or restores the previous one. Returns whether the
/// order has ended.
fn wait_for_proof(state: &mut UpdateState, runtime: &Runtime) -> Result<bool> {
    systemd::start(crate::operator::UNIT)?;
    let etcd = state.order.release.as_ref().map(|release| release.etcd);
    let soak = Duration::from_secs(state.order.soak.into());
    let proved = Updated::read()?.is_some_and(|updated| updated.serial == state.order.serial);
    let why = if proved {
        None
    } else {
        until_good(state, runtime, etcd, soak, Some(HEALTHY + soak))?
    };
    if let Some(why) = why {
        say(format!(
            "the proof of the image {} failed: {why}",
            state.order.serial
        ));
        (state.why, state.blame) = (Some(why), true);
        put_back(state)?;
        return Ok(false);
    }
    let serial_before = Updated::read()?
        .map(|updated| updated.serial)
        .filter(|serial| *serial != state.order.serial);
    if !proved {
        Updated {
            serial: state.order.serial,
            serial_before,
            replacement: Some(state.replacement.clone()),
        }
        .write()?;
    }
    release_turn_patiently(state, runtime, None)?;
    files::remove_all(Path::new(paths::UPDATE_NEW))?;
    let files = last_of(state)?;
    let note = if files.is_empty() {
        String::new()
    } else {
        format!("; reboot to apply {}", files.join(", "))
    };
    say(format!(
        "{} has the image {}{note}",
        state.node, state.order.serial
    ));
    state
        .end(UpdateResult::Updated, note.trim_start_matches("; "))
        .map(|_| true)
}

/// After the previous image has been restored, waits until the member is healthy, and then releases
/// the turn.
fn recovered(state: &UpdateState, runtime: &Runtime) -> Result<bool> {
    systemd::start(crate::operator::UNIT)?;
    let rollback = state.order.release.is_none();
    until_good(state, runtime, None, Duration::ZERO, None)?;
    let why = state.why.clone().unwrap_or_default();
    let failed = state.blame.then(|| Failed {
        node: state.node.clone(),
        why: why.clone(),
        at: now(),
    });
    if rollback {
        match Updated::read()?.and_then(|updated| updated.serial_before) {
            Some(serial) => Updated {
                serial,
                serial_before: None,
                replacement: None,
            }
            .write()?,
            None => files::remove(paths::UPDATED)?,
        }
    }
    release_turn_patiently(state, runtime, failed.as_ref())?;
    files::remove_all(Path::new(paths::UPDATE_NEW))?;
    say(format!(
        "{} is a healthy member on its previous image",
        state.node
    ));
    state
        .end(
            if rollback {
                UpdateResult::RolledBack
            } else {
                UpdateResult::TakenBack
            },
            why,
        )
        .map(|_| true)
}

/// Releases the turn, however long that takes, because no other member may start until then.
fn release_turn_patiently(
    state: &UpdateState,
    runtime: &Runtime,
    failed: Option<&Failed>,
) -> Result<()> {
    loop {
        let released = runtime.block_on(async {
            let client = Client::connect(paths::OWN_CLIENT_URL, &installed_credentials()?).await?;
            release_turn(&client, state, failed).await
        });
        let Err(error) = released else { return Ok(()) };
        say(format!("cannot release the turn yet: {error:#}"));
        std::thread::sleep(WAIT);
    }
}

/// Waits until the member has been healthy for `soak` without interruption. Returns the reason if
/// this failed or took too long.
fn until_good(
    state: &UpdateState,
    runtime: &Runtime,
    etcd: Option<recipes::EtcdVersion>,
    soak: Duration,
    patience: Option<Duration>,
) -> Result<Option<String>> {
    let mut watch = Probation::new(&state.node, state.order.serial, etcd);
    let (begun, mut good, mut logged) = (Instant::now(), None, String::new());
    loop {
        let why = match runtime.block_on(watch.look())? {
            Proof::Good => {
                let since = *good.get_or_insert_with(|| {
                    if !soak.is_zero() {
                        say(format!(
                            "healthy; the member must stay healthy for {} s",
                            soak.as_secs()
                        ));
                    }
                    Instant::now()
                });
                if since.elapsed() >= soak {
                    return Ok(None);
                }
                String::new()
            }
            Proof::Failed(why) if patience.is_some() => return Ok(Some(why)),
            Proof::NotYet(why) | Proof::Failed(why) => {
                good = None;
                why
            }
        };
        if patience.is_some_and(|patience| begun.elapsed() >= patience) {
            let why = if why.is_empty() { logged } else { why };
            return Ok(Some(format!(
                "it was not healthy for {} s within {} s: {why}",
                soak.as_secs(),
                begun.elapsed().as_secs()
            )));
        }
        if !why.is_empty() && why != logged {
            say(format!("not yet: {why}"));
            logged = why;
        }
        std::thread::sleep(LOOK);
    }
}
