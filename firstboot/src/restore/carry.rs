//! What an operator told this node, carried on to its end: by the command itself, or by the next `firstboot run` where
//! the power was cut meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};

use super::build::{self, Build};
use super::{aside, exchange};
use crate::barrier::{self, Agreed, Epoch, Errand, Memory};
use crate::data;
use crate::domain::{Lives, Start, Task, member_id};
use crate::files;
use crate::identity::Identity;
use crate::journal::{self, Event, Exchange, Journal, Past, SetAside, Told};
use crate::lock::Lock;
use crate::say::say;
use crate::{paths, release};

/// After a power cut all boot again, and not all as fast.
const AFTER_A_BOOT: Duration = Duration::from_secs(120);

/// How it ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// etcd may start on the other data.
    Exchanged(String),
    /// etcd may start on what it had, and why.
    GivenUp(anyhow::Error),
    /// It goes on elsewhere.
    Left,
}

/// Goes on with what was begun before a power cut, if anything was.
pub(crate) fn take_up(identity: &Identity, journal: &mut Journal) -> Result<()> {
    let folder = Path::new(paths::RESTORE);
    // Earlier versions kept it where etcd could exchange it; nothing in one that is not root's was made by firstboot.
    if files::look(folder)?.is_some_and(|there| there.owner != files::ROOT || there.kind != files::Kind::Directory) {
        files::remove_all(folder)?;
    }
    if Past::of(journal).told.is_none() {
        return Ok(());
    }
    match carry_on(identity, journal, false)? {
        Outcome::Exchanged(line) => say(line),
        Outcome::GivenUp(why) => say(format!("the restore is given up, and etcd starts as it was: {why:#}")),
        Outcome::Left => {}
    }
    Ok(())
}

/// Where nobody is to be waited for, what will be agreed on is known: the new data is made while etcd still runs. It is
/// found there when it is asked for, and is made then if somebody else was at work here meanwhile.
pub(super) fn ahead(identity: &Identity, past: &Past, told: &Told) -> Result<()> {
    let (cluster, own) = (&identity.cluster, &identity.node.name);
    let alone = Memory::of_order(past, cluster, own, told).others().next().is_none();
    let (Some(build), true, None) = (build_of(identity, told)?, alone, &past.told) else { return Ok(()) };
    let Ok(_lock) = Lock::take() else { return Ok(()) };
    let epoch = Epoch::new(cluster, Lives::from([(own.clone(), told.nonce)]), told.task);
    build.make(&epoch).inspect_err(|_| clean())
}

/// What it takes to make new data of the snapshot, where there is one.
fn build_of(identity: &Identity, told: &Told) -> Result<Option<Build>> {
    let own = identity.cluster.member(&identity.node.name).context("the member vanished from the cluster document")?;
    Ok(told.source.clone().map(|source| Build { cluster: identity.cluster.clone(), own: own.clone(), source }))
}

/// From wherever it stands to the end.
pub(super) fn carry_on(identity: &Identity, journal: &mut Journal, at_terminal: bool) -> Result<Outcome> {
    let past = Past::of(journal);
    let told = past.told.clone().context("a bug: nobody told this node to restore")?;
    release::halt()?;
    let exchange = match &past.exchange {
        Some(begun) => begun.clone(),
        None => match agree(identity, journal, &past, &told, at_terminal) {
            Ok(Ok(exchange)) => {
                journal.add(Event::Exchange(Box::new(exchange.clone())))?;
                exchange
            }
            Ok(Err(Outcome::GivenUp(why))) | Err(why) => return give_up(journal, why),
            Ok(Err(outcome)) => return Ok(outcome),
        },
    };
    if let Err(error) = exchange::finish(&exchange) {
        exchange::undo(&exchange).with_context(|| format!("{error:#}; and the old data could not be put back"))?;
        return give_up(journal, error);
    }
    journal.add(Event::Exchanged)?;
    clean();
    let aside = exchange.aside.map(|path| format!("; what was there lies in {}", path.display())).unwrap_or_default();
    Ok(Outcome::Exchanged(format!("this node's data is that of the cluster {:x} now{aside}", exchange.cluster)))
}

fn give_up(journal: &mut Journal, why: anyhow::Error) -> Result<Outcome> {
    journal.add(Event::GivenUp)?;
    clean();
    Ok(Outcome::GivenUp(why))
}

/// Makes room of what a restore left that was cut short before anybody was told of it.
pub(super) fn clear(past: &Past) {
    if past.told.is_none()
        && let Ok(_lock) = Lock::take()
    {
        clean();
    }
}

/// Removes what was made for epochs that came to nothing, and the snapshot where it was fetched. What is left costs
/// room, and the next restore removes it.
fn clean() {
    if let Err(error) = files::remove_all(Path::new(paths::RESTORE)) {
        say(format!("{error:#}"));
    }
}

/// Meets the others, and says what they agreed to exchange.
fn agree(
    identity: &Identity,
    journal: &mut Journal,
    past: &Past,
    told: &Told,
    at_terminal: bool,
) -> Result<Result<Exchange, Outcome>> {
    let own = identity.cluster.member(&identity.node.name).context("the member vanished from the cluster document")?;
    let memory = Memory::of_order(past, &identity.cluster, &identity.node.name, told);
    let build = build_of(identity, told)?;
    let set_aside = past.set_aside.clone();
    let prepare = {
        let (build, set_aside) = (build.clone(), set_aside.clone());
        move |epoch: &Epoch| prepare(build.as_ref(), set_aside.as_ref(), epoch)
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let left = Duration::from_secs(told.until.saturating_sub(now));
    let patience = if at_terminal { left } else { left.max(AFTER_A_BOOT).min(Duration::from_secs(1 << 20)) };
    let file = told.source.as_ref().map(|source| (source.sha256, source.path.clone()));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The port, and every connection to it, is closed when the runtime is gone: etcd needs it.
    let agreed = runtime.block_on(async {
        let errand = Errand::new(Arc::new(prepare.clone()), file, patience, at_terminal)?;
        barrier::agree(identity, journal, memory, Some(errand)).await
    })?;
    let epoch = match agreed {
        Agreed::On(epoch) => epoch,
        Agreed::Not(why) => return Ok(Err(Outcome::GivenUp(why))),
        Agreed::Left => return Ok(Err(Outcome::Left)),
        Agreed::Join(_) => return Err(anyhow!("a bug: who was told to restore is to join nothing")),
    };
    // The one that others have begun may be an earlier one than the last that was made ready.
    prepare(&epoch)?;
    let aside = files::exists(Path::new(paths::DATA))?.then(|| journal::aside("before-restore")).transpose()?;
    let exchange = match (told.task, &told.source, set_aside) {
        (Task::Restore { .. }, Some(source), _) => {
            let Start { token, members, .. } = Start::new_cluster(&identity.cluster, &epoch.token, epoch.lives.keys());
            let member = Some(member_id(&own.peer_url(), &token));
            let (from, revision) = (build::folder(&token), build::revision(epoch.task, source));
            let data = Some(data::known(&from)?);
            Exchange { from, aside, token, members, cluster: epoch.cluster_id, member, revision, data }
        }
        (Task::Rollback { .. }, None, Some(SetAside { path, begun, cluster, member, revision, .. })) => {
            let Start { token, members, .. } = begun;
            let data = Some(data::known(&path)?);
            Exchange { from: path, aside, token, members, cluster, member, revision, data }
        }
        (task, ..) => return Err(anyhow!("a bug: told to {task}, without what that takes")),
    };
    let who: Vec<&str> = epoch.lives.keys().map(recipes::Label::as_str).collect();
    say(format!("{} are ready: {}, the cluster {:x}", who.join(", "), told.task, exchange.cluster));
    Ok(Ok(exchange))
}

/// Sees to it that what an epoch begins with is there.
fn prepare(build: Option<&Build>, set_aside: Option<&SetAside>, epoch: &Epoch) -> Result<()> {
    match (build, set_aside) {
        (Some(build), _) => build.make(epoch),
        (None, Some(set_aside)) => aside::check(set_aside),
        (None, None) => Err(anyhow!("a bug: neither a snapshot nor data that was set aside")),
    }
}
