//! The bootstrap barrier: no cluster is ever bootstrapped twice. A node with an empty disk does not decide alone that
//! its cluster is new; it waits until all initial members are there, empty, and agree.
//!
//! `past` says from the journal and the volume whether anything has begun; `listen` and `ask` carry `words`; `decide`
//! is the rule, and `model` its proof.

mod ask;
mod decide;
mod epoch;
mod errand;
mod hand;
mod ids;
mod listen;
#[cfg(test)]
mod model;
mod past;
mod task;
mod tls;
mod turn;
mod unproven;
mod volume;
mod waiting;
mod without;
mod words;

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use recipes::Label;
use recipes::cluster::Member;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub(crate) use ask::{Asker, Heard};
pub(crate) use decide::{Memory, Words};
pub(crate) use epoch::{Epoch, Lives, Nonce};
pub(crate) use errand::{Agreed, Errand};
pub(crate) use ids::member_id;
pub(crate) use listen::PORT as PEER_PORT;
pub(crate) use past::{Past, SetAside, Word};
pub(crate) use task::{Task, short};
pub(crate) use volume::{Volume, aside, put_aside, volume};
pub(crate) use without::{objection, record as go_without};
#[cfg(test)]
pub(crate) use {past::tests::restored, tls::server, volume::mark};

use crate::data;
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::{Event, Journal};
use crate::paths;
use crate::rebuild::{self, Rebuild, Round};
use crate::release;
use crate::say::say;
use crate::steps::etcd_conf::Start;
use decide::{Step, decide};
use errand::CalledOff;
use listen::{Bell, Listener};
use past::{Standing, standing};
use waiting::Accounts;

/// Between two questions to one member, unless there is news.
const PAUSE: Duration = Duration::from_millis(300);

/// Returns when etcd may start, with what it is to begin as. It waits for as long as that takes.
///
/// # Errors
/// Refused where there is data that is not known.
pub(crate) fn pass(identity: &Identity, journal: &mut Journal) -> Result<Start> {
    let past = Past::of(journal);
    if past.word == Word::Rejoin {
        release::halt()?;
    }
    let life = match stand(identity, &past)? {
        Standing::Member { start, begun } => {
            if let Some(known) = begun {
                journal.add(Event::DataBegun(known))?;
            }
            // An operator may have moved the data to a new volume by hand.
            past.nonce.map_or(Ok(()), volume::mark)?;
            return Ok(start);
        }
        Standing::Again { start, aside } => {
            if aside {
                put_half_born_aside(journal)?;
            }
            return Ok(start);
        }
        Standing::Lost(why) => {
            rebuild::until_missed(identity, &past, &why)?;
            put_aside("lost", journal)?;
            None
        }
        Standing::Empty { life, aside } => {
            match (aside, past.word == Word::Rejoin) {
                (false, _) => {}
                (true, true) => put_aside("removed", journal)?,
                (true, false) => put_half_born_aside(journal)?,
            }
            life
        }
        Standing::Unknown(why) => {
            return Err(refused(format!("{}: {why}", paths::DATA)));
        }
    };
    begin_or_join(identity, journal, life)
}

/// Where this node stands. An etcd that was let go in this boot and is not on the member's data is stopped.
fn stand(identity: &Identity, past: &Past) -> Result<Standing> {
    let expected = past.expected(&identity.node.name);
    // What runs was judged when it started, and its data cannot be judged while it writes.
    if release::runs()? && data::is_in_place(&expected)? {
        let start = past.begun.clone().context("a bug: etcd's data is known, and it was never to begin")?;
        return Ok(Standing::Member { start, begun: None });
    }
    let judge = || -> Result<Standing> {
        let (contents, verdict) = data::look(&expected)?;
        Ok(standing(past, contents, verdict, volume::volume(past.nonce)?))
    };
    let standing = judge()?;
    if matches!(standing, Standing::Member { .. }) {
        return Ok(standing);
    }
    release::withdraw()?;
    judge()
}

/// The way of a node without data: it begins a cluster with all others, or joins the one that lives.
fn begin_or_join(identity: &Identity, journal: &mut Journal, life: Option<Nonce>) -> Result<Start> {
    let nonce = match life {
        // Whoever began it may have been killed before the mark was on the disk.
        Some(nonce) => volume::mark(nonce).map(|()| nonce)?,
        None => begin_life(journal)?,
    };
    let memory = Past::of(journal).memory(&identity.cluster, &identity.node.name, nonce);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let agreed = runtime.block_on(agree(identity, journal, memory, None))?;
    // With it the port is closed, and every connection to it: etcd needs it.
    drop(runtime);
    match agreed {
        Agreed::Join(start) => Ok(start),
        Agreed::On(epoch) => {
            let start = begin(identity, journal, &epoch)?;
            turn::wait(identity, &epoch)?;
            Ok(start)
        }
        Agreed::Not(why) => Err(why),
        Agreed::Left => bail!("a bug: nobody may leave the bootstrap barrier"),
    }
}

fn put_half_born_aside(journal: &mut Journal) -> Result<()> {
    say("etcd's first start was cut short, and it would refuse what that left");
    put_aside("half-born", journal)
}

fn begin_life(journal: &mut Journal) -> Result<Nonce> {
    let nonce = Nonce::draw()?;
    journal.add(Event::Life { nonce })?;
    volume::mark(nonce)?;
    Ok(nonce)
}

/// Writes down as what etcd begins.
fn begin(identity: &Identity, journal: &mut Journal, epoch: &Epoch) -> Result<Start> {
    let start = Start::new_cluster(&identity.cluster, &epoch.token, epoch.lives.keys());
    let count = start.members.len();
    say(format!("all {count} initial members agree: a new cluster, token {}", epoch.token));
    let Start { token, members, .. } = start.clone();
    journal.add(Event::Bootstrap { token, members })?;
    Ok(start)
}

/// Asks, decides, writes down, says so; again and again until it is clear what etcd may begin with. Who was told
/// something has an errand beside.
pub(crate) async fn agree(
    identity: &Identity,
    journal: &mut Journal,
    mut memory: Memory,
    mut errand: Option<Errand>,
) -> Result<Agreed> {
    let (cluster, node) = (&identity.cluster, &identity.node);
    let asker = Asker::new(cluster, &identity.tls)?;
    let listener = Listener::open(
        node.address,
        tls::server(&identity.tls)?,
        words::write(&cluster.name, cluster.etcd.version, &memory),
    )
    .await?;
    if let Some((digest, path)) = errand.as_ref().and_then(|errand| errand.file.clone()) {
        listener.offer(digest, path);
    }
    let mut accounts = Accounts::default();
    let mut answers = ask_all(&asker, identity, &listener);
    let mut rebuild = Rebuild::new(identity, asker.clone());
    let mut told = String::new();
    loop {
        let called_off = match &mut errand {
            None => {
                answers.hear(&mut accounts).await;
                None
            }
            Some(errand) => tokio::select! {
                () = answers.hear(&mut accounts) => None,
                why = errand.called_off() => Some(why),
            },
        };
        match called_off {
            None => {}
            Some(CalledOff::Leave) => return Ok(Agreed::Left),
            Some(CalledOff::GiveUp(why)) => return Ok(Agreed::Not(not_ready(format!("{why}. Last: {told}")))),
        }
        let step = decide(&memory, &accounts.views());
        match step {
            Step::BeReady(lives, task) => {
                let epoch = Epoch::new(cluster, lives.clone(), task);
                if let Some(errand) = &errand
                    && let Err(why) = errand.prepare(&epoch).await
                {
                    return Ok(Agreed::Not(why));
                }
                // First on the disk, then told: who was ready stays ready.
                journal.add(Event::Ready { lives, task })?;
                memory.epochs.push(epoch);
                listener.say(words::write(&cluster.name, cluster.etcd.version, &memory));
            }
            Step::Start(id) => {
                let epoch = memory.epochs.iter().find(|epoch| epoch.id == id).cloned();
                let epoch = epoch.with_context(|| format!("a bug: never ready in the epoch {id}"))?;
                // Whoever has not heard yet would wait for etcd's answer instead. It costs them time, no more.
                let others = cluster.members.iter().filter(|member| memory.others().any(|name| *name == member.name));
                listener.told(&others.map(|member| member.address.into()).collect(), PAUSE).await;
                return Ok(Agreed::On(epoch));
            }
            Step::GiveUp(name) => return Ok(Agreed::Not(refused(accounts.objection(&memory, &name)))),
            Step::Wait | Step::Alive => {
                let mut now = accounts.tell(&memory, &step);
                if step == Step::Alive {
                    match rebuild.round(identity, journal, &accounts.living()).await? {
                        Round::Join(start) => return Ok(Agreed::Join(start)),
                        Round::Wait(why) => now = format!("{now}. It is to join that one: {why}"),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                if now != told {
                    say(&now);
                    told = now;
                }
            }
        }
    }
}

/// What the others answer, as it comes.
#[derive(Debug)]
struct Answers {
    answers: mpsc::Receiver<(Label, Heard)>,
    /// They are asked for as long as somebody listens here.
    _asking: JoinSet<()>,
}

impl Answers {
    /// Waits for an answer, and takes in all that are there.
    async fn hear(&mut self, accounts: &mut Accounts) {
        let mut next = self.answers.recv().await;
        while let Some((name, heard)) = next {
            accounts.hear(&name, heard, SystemTime::now());
            next = self.answers.try_recv().ok();
        }
    }
}

/// Asks all others, each in its own time: one that does not answer holds up nobody.
fn ask_all(asker: &Asker, identity: &Identity, listener: &Listener) -> Answers {
    let mut asking = JoinSet::new();
    let (send, answers) = mpsc::channel(1);
    for member in identity.cluster.members.iter().filter(|member| member.name != identity.node.name) {
        asking.spawn(keep_asking(asker.clone(), member.clone(), listener.bell(), send.clone()));
    }
    Answers { answers, _asking: asking }
}

/// Asks one member again and again: after a pause, or at once when it may have something new to say or to hear.
async fn keep_asking(
    asker: Asker,
    member: Member,
    mut bell: watch::Receiver<Bell>,
    send: mpsc::Sender<(Label, Heard)>,
) {
    let mut told = 0;
    loop {
        let Bell { answers, news, .. } = bell.borrow_and_update().clone();
        let heard = asker.ask(&member, answers > told).await;
        if matches!(heard, Heard::Words(_)) {
            told = answers;
        }
        if send.send((member.name.clone(), heard)).await.is_err() {
            return;
        }
        let rung = bell.wait_for(|bell| bell.answers > answers || bell.news > news);
        // The time is over, or it was rung: both say the same.
        let _ = tokio::time::timeout(PAUSE, rung).await;
    }
}
