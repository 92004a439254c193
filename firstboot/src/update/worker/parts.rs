//! The steps of an order that change the system.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;

use super::super::exchange::Places;
use super::super::own::Own;
use super::super::state::{Phase, State, Updated};
use super::super::{check, effects, stage, tell};
use crate::etcd::{Client, Credentials};
use crate::lock::Lock;
use crate::membership::{PeerClient, QUERY_TIMEOUT, others};
use crate::operator::UNIT;
use crate::{output, paths, release, systemd};

/// How long a handover of the leadership may take.
const HANDOVER: Duration = Duration::from_secs(10);

/// Says something: to the journal, and to the command that follows. It must not fail: an exchange is not cut short for words.
pub(super) fn say(line: impl AsRef<str>) {
    let line = line.as_ref();
    output::say(line);
    let log = File::options().create(true).append(true).open(paths::UPDATE_LOG);
    if let Ok(mut file) = log {
        let _ = writeln!(file, "{line}");
    }
}

/// The files of the new image take their place.
pub(super) fn put_new(state: &mut State, runtime: &Runtime) -> Result<()> {
    let release = state.order.release.as_ref().context("the order names no release")?;
    let staged = stage::staged(release, &state.node)?;
    let places = Places::of_node();
    state.exchange = places.plan(&check::own_stamp()?, &staged.stamp)?;
    // What was kept for the way back from the last update makes room.
    if let Some(updated) = Updated::read()?.filter(|updated| updated.exchange.is_some()) {
        Updated { exchange: None, ..updated }.write()?;
    }
    places.keep(&state.exchange)?;
    runtime.block_on(hand_over(&Own::read()?));
    say(format!(
        "stopping etcd, and exchanging {} files for those of the image {}",
        state.exchange.files.len(),
        state.order.serial
    ));
    stop()?;
    let _lock = Lock::take()?;
    tell::before(&state.exchange.files, &mut say);
    state.enter(Phase::Exchanging)?;
    places.exchange(&state.exchange, Path::new(paths::UPDATE_NEW))?;
    tell::after(&state.exchange.files, places.present(&state.exchange, false), &mut say)?;
    state.boots = 0;
    state.enter(Phase::Proving)
}

/// The files of the old image take their place again. Afterwards firstboot.service must be started, or starts by itself at boot.
pub(super) fn put_back(state: &mut State) -> Result<()> {
    say(format!(
        "the image before the image {} comes back: {}",
        state.order.serial,
        state.why.as_deref().unwrap_or_default()
    ));
    stop()?;
    let _lock = Lock::take()?;
    let reversed = tell::reversed(&state.exchange.files);
    tell::before(&reversed, &mut say);
    state.enter(Phase::TakingBack)?;
    let places = Places::of_node();
    places.take_back(&state.exchange)?;
    tell::after(&reversed, places.present(&state.exchange, true), &mut say)?;
    state.enter(Phase::Recovering)
}

/// etcd is down, and stays down until firstboot lets it start again.
fn stop() -> Result<()> {
    let is_up = |unit: &str| -> Result<bool> {
        let state = systemd::properties(unit, &["ActiveState"])?;
        Ok(state.get("ActiveState").is_some_and(|state| state != "inactive"))
    };
    // At boot neither has been started yet, and the jobs that start them must stay.
    if is_up(UNIT)? {
        systemd::stop(UNIT)?;
    }
    if release::is_given() || is_up("etcd.service")? {
        release::halt()?;
    }
    Ok(())
}

/// Hands the leadership to another voter, so that clients wait for no election. Where that fails, they wait for one.
pub(super) async fn hand_over(own: &Own) {
    if let Err(error) = try_to_hand_over(own).await {
        say(format!("the leadership was not handed over: {error:#}"));
    }
}

async fn try_to_hand_over(own: &Own) -> Result<()> {
    let credentials = Credentials::installed()?;
    let client = Client::connect(paths::OWN_CLIENT_URL, &credentials).await?;
    let begun = Instant::now();
    loop {
        let status = client.status().await?;
        let member = status.header.unwrap_or_default().member_id;
        if status.leader != member {
            return Ok(());
        }
        ensure!(begun.elapsed() < HANDOVER, "this node still leads after {} s", HANDOVER.as_secs());
        let identity = own.identity()?;
        let peers =
            others(&identity, &PeerClient::new(&identity.cluster, &identity.tls)?, &credentials, QUERY_TIMEOUT).await.0;
        // The one that has applied most needs least to catch up.
        let Some(next) = peers.iter().max_by_key(|peer| peer.index) else { return Ok(()) };
        say(format!("this node leads; handing the leadership to {}", next.name));
        if let Err(error) = client.move_leader(next.member_id).await {
            say(format!("not yet: {error:#}"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The files of the new image that only a boot takes on.
pub(super) fn last_of(state: &State) -> Vec<String> {
    let effects = effects::effects(&state.exchange.files);
    let reboot = effects.into_iter().filter_map(|effect| match effect {
        effects::Effect::Reboot(path) => Some(format!("/{path}")),
        _ => None,
    });
    reboot.collect()
}
