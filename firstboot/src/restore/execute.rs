//! Executes an order to restore, either in the command itself or in the next `firstboot run` after
//! a power cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};

use super::build::{self, DataDirBuilder};
use super::{archive, swap};
use crate::barrier::{self, BarrierOutcome, Epoch, LocalState, RestoreSession};
use crate::data;
use crate::domain::{BootstrapMode, DiskIds, Start, member_id};
use crate::files;
use crate::identity::Identity;
use crate::journal::{self, ArchivedData, DataSwap, Event, Journal, NodeState, RestoreOrder};
use crate::lock::Lock;
use crate::output::say;
use crate::{paths, release};

/// The minimum time to wait for the others after a power cut: not all machines boot equally fast.
const AFTER_A_BOOT: Duration = Duration::from_secs(120);

/// How a restore ends.
#[derive(Debug)]
pub(super) enum Outcome {
    /// etcd may start with the new data.
    Swapped(String),
    /// The restore was given up for this reason, and etcd may start with its previous data.
    GivenUp(anyhow::Error),
    /// firstboot.service continues.
    HandedOver,
}

/// Resumes a restore that a power cut interrupted, if there was one.
pub(crate) fn resume(identity: &Identity, journal: &mut Journal) -> Result<()> {
    let folder = Path::new(paths::RESTORE);
    // Earlier versions kept the folder where etcd could replace it. If the folder does not belong
    // to root, firstboot did not create its content.
    if files::look(folder)?
        .is_some_and(|there| there.owner != files::ROOT || there.kind != files::Kind::Directory)
    {
        files::remove_all(folder)?;
    }
    if NodeState::of(journal).order.is_none() {
        return Ok(());
    }
    match execute(identity, journal, false)? {
        Outcome::Swapped(line) => say(line),
        Outcome::GivenUp(why) => {
            say(format!(
                "the restore was abandoned, and etcd starts with its previous data: {why:#}"
            ));
        }
        Outcome::HandedOver => {}
    }
    Ok(())
}

/// If the restore waits for no other member, the agreement is known in advance, and firstboot
/// builds the new data while etcd still runs. `prepare` finds that data, or builds it if another
/// firstboot was running meanwhile.
pub(super) fn prebuild(identity: &Identity, state: &NodeState, order: &RestoreOrder) -> Result<()> {
    let (cluster, own) = (&identity.cluster, &identity.node.name);
    let alone = LocalState::of_order(state, cluster, own, order)
        .others()
        .next()
        .is_none();
    let (Some(build), true, None) = (build_of(identity, order)?, alone, &state.order) else {
        return Ok(());
    };
    let Ok(_lock) = Lock::take() else {
        return Ok(());
    };
    let epoch = Epoch::new(
        cluster,
        DiskIds::from([(own.clone(), order.disk_id)]),
        order.mode,
    );
    build.make(&epoch).inspect_err(|_| clean())
}

/// The builder of the new data; none for a rollback.
fn build_of(identity: &Identity, order: &RestoreOrder) -> Result<Option<DataDirBuilder>> {
    let own = identity
        .cluster
        .member(&identity.node.name)
        .context("the member vanished from the cluster document")?;
    Ok(order.source.clone().map(|source| DataDirBuilder {
        cluster: identity.cluster.clone(),
        own: own.clone(),
        source,
    }))
}

/// Executes the order from any point to its end.
pub(super) fn execute(
    identity: &Identity,
    journal: &mut Journal,
    at_terminal: bool,
) -> Result<Outcome> {
    let state = NodeState::of(journal);
    let order = state
        .order
        .clone()
        .context("a bug: this node has no order to restore")?;
    release::halt()?;
    let exchange = match &state.exchange {
        Some(begun) => begun.clone(),
        None => match negotiate(identity, journal, &state, &order, at_terminal) {
            Ok(Ok(exchange)) => {
                journal.add(Event::Exchange(Box::new(exchange.clone())))?;
                exchange
            }
            Ok(Err(Outcome::GivenUp(why))) | Err(why) => return give_up(journal, why),
            Ok(Err(outcome)) => return Ok(outcome),
        },
    };
    if let Err(error) = swap::finish(&exchange) {
        swap::undo(&exchange)
            .with_context(|| format!("{error:#}; and cannot move the old data back"))?;
        return give_up(journal, error);
    }
    journal.add(Event::Exchanged)?;
    clean();
    let aside = exchange
        .aside
        .map(|path| format!("; the old data is in {}", path.display()))
        .unwrap_or_default();
    Ok(Outcome::Swapped(format!(
        "this node now has the data of the cluster {:x}{aside}",
        exchange.cluster
    )))
}

fn give_up(journal: &mut Journal, why: anyhow::Error) -> Result<Outcome> {
    journal.add(Event::GivenUp)?;
    clean();
    Ok(Outcome::GivenUp(why))
}

/// Removes what an interrupted restore left before it wrote its order to the journal.
pub(super) fn clear(state: &NodeState) {
    if state.order.is_none()
        && let Ok(_lock) = Lock::take()
    {
        clean();
    }
}

/// Removes the data that was built for abandoned epochs, and a downloaded snapshot. If that fails,
/// the files take up space until the next restore removes them.
fn clean() {
    if let Err(error) = files::remove_all(Path::new(paths::RESTORE)) {
        say(format!("{error:#}"));
    }
}

/// Meets the others at the barrier, and returns the swap that they agreed on.
fn negotiate(
    identity: &Identity,
    journal: &mut Journal,
    state: &NodeState,
    order: &RestoreOrder,
    at_terminal: bool,
) -> Result<Result<DataSwap, Outcome>> {
    let memory = LocalState::of_order(state, &identity.cluster, &identity.node.name, order);
    let build = build_of(identity, order)?;
    let archived = state.archived.clone();
    let prepare = {
        let (build, archived) = (build.clone(), archived.clone());
        move |epoch: &Epoch| prepare(build.as_ref(), archived.as_ref(), epoch)
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    let left = Duration::from_secs(order.until.saturating_sub(now));
    let patience = if at_terminal {
        left
    } else {
        left.max(AFTER_A_BOOT).min(Duration::from_secs(1 << 20))
    };
    let file = order
        .source
        .as_ref()
        .map(|source| (source.sha256, source.path.clone()));

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // The end of the runtime closes the port and all its connections: etcd needs the port.
    let agreed = runtime.block_on(async {
        let session = RestoreSession::new(Arc::new(prepare.clone()), file, patience, at_terminal)?;
        barrier::negotiate(identity, journal, memory, Some(session)).await
    })?;
    let epoch = match agreed {
        BarrierOutcome::Agreed(epoch) => epoch,
        BarrierOutcome::Abandoned(why) => return Ok(Err(Outcome::GivenUp(why))),
        BarrierOutcome::HandedOver => return Ok(Err(Outcome::HandedOver)),
        BarrierOutcome::Join(_) => {
            return Err(anyhow!(
                "a bug: a node with an order to restore cannot join a cluster"
            ));
        }
    };
    // The others may have begun an earlier epoch than the last one that was prepared.
    prepare(&epoch)?;
    let aside = files::exists(Path::new(paths::DATA))?
        .then(|| journal::archive_path("before-restore"))
        .transpose()?;
    let exchange = data_swap(identity, order, archived, &epoch, aside)?;
    let who: Vec<&str> = epoch.disk_ids.keys().map(recipes::Label::as_str).collect();
    say(format!(
        "all members ({}) are ready to {}: the cluster {:x}",
        who.join(", "),
        order.mode,
        exchange.cluster
    ));
    Ok(Ok(exchange))
}

/// The swap by which etcd gets the data of the epoch. The previous data moves to `aside`.
fn data_swap(
    identity: &Identity,
    order: &RestoreOrder,
    archived: Option<ArchivedData>,
    epoch: &Epoch,
    aside: Option<PathBuf>,
) -> Result<DataSwap> {
    let own = identity
        .cluster
        .member(&identity.node.name)
        .context("the member vanished from the cluster document")?;
    Ok(match (order.mode, &order.source, archived) {
        (BootstrapMode::Restore { .. }, Some(source), _) => {
            let Start { token, members, .. } =
                Start::new_cluster(&identity.cluster, &epoch.token, epoch.disk_ids.keys());
            let member = Some(member_id(&own.peer_url(), &token));
            let (from, revision) = (build::folder(&token), build::revision(epoch.mode, source));
            let data = Some(data::known(&from)?);
            DataSwap {
                from,
                aside,
                token,
                members,
                cluster: epoch.cluster_id,
                member,
                revision,
                data,
            }
        }
        (
            BootstrapMode::Rollback { .. },
            None,
            Some(ArchivedData {
                path,
                begun,
                cluster,
                member,
                revision,
                ..
            }),
        ) => {
            let Start { token, members, .. } = begun;
            let data = Some(data::known(&path)?);
            DataSwap {
                from: path,
                aside,
                token,
                members,
                cluster,
                member,
                revision,
                data,
            }
        }
        (mode, ..) => return Err(anyhow!("a bug: the order to {mode} has no source")),
    })
}

/// Makes sure that the data for an epoch exists.
fn prepare(
    build: Option<&DataDirBuilder>,
    archived: Option<&ArchivedData>,
    epoch: &Epoch,
) -> Result<()> {
    match (build, archived) {
        (Some(build), _) => build.make(epoch),
        (None, Some(archived)) => archive::check(archived),
        (None, None) => Err(anyhow!(
            "a bug: the order has neither a snapshot nor archived data"
        )),
    }
}
