//! The bootstrap barrier: no cluster is ever bootstrapped twice. A node with an empty disk does not decide alone that
//! its cluster is new; it waits until all initial members are there, empty, and agree.
//!
//! `past` says from the journal and the volume whether anything has begun; `listen` and `ask` carry `words`; `decide`
//! is the rule, and `model` its proof.

mod ask;
mod decide;
mod epoch;
mod ids;
mod listen;
#[cfg(test)]
mod model;
mod past;
mod tls;
mod volume;
mod waiting;
mod without;
mod words;

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use recipes::Label;
use recipes::cluster::Member;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub(crate) use ask::Asker;
use ask::Heard;
pub(crate) use epoch::{Lives, Nonce};
pub(crate) use past::{Past, Word};
pub(crate) use volume::put_aside;
pub(crate) use without::record as go_without;

use crate::exit::refused;
use crate::identity::Identity;
use crate::journal::{Event, Journal};
use crate::paths;
use crate::rebuild::{Rebuild, Round};
use crate::release;
use crate::say::say;
use crate::steps::etcd_conf::Start;
use decide::{Memory, Step, decide};
use epoch::Epoch;
use listen::{Bell, Listener};
use past::{Standing, standing};
use volume::Data;
use waiting::Accounts;

/// What etcd's first start leaves when it is cut short.
const HALF_BORN: &str = "half-born";
/// Between two questions to one member, unless there is news.
const PAUSE: Duration = Duration::from_millis(300);

/// Returns when etcd may start, with what it is to begin as. It waits for as long as that takes.
///
/// # Errors
/// Refused where there is data that is not known.
pub(crate) fn pass(identity: &Identity, journal: &mut Journal) -> Result<Start> {
    let past = Past::of(journal);
    let mut data = volume::data(Path::new(paths::DATA))?;
    if past.word == Word::Rejoin {
        release::halt()?;
    } else if data != Data::Whole {
        release::withdraw()?;
        data = volume::data(Path::new(paths::DATA))?;
    }
    match standing(&past, data, volume::volume(past.nonce)?) {
        Standing::Member(start) => Ok(start),
        Standing::Again { start, aside } => {
            if aside {
                put_aside(HALF_BORN, journal)?;
            }
            Ok(start)
        }
        Standing::Empty { life, aside } => {
            if aside {
                put_aside(if past.word == Word::Rejoin { "removed" } else { HALF_BORN }, journal)?;
            }
            let nonce = life.map_or_else(|| begin_life(journal), Ok)?;
            let memory = past.memory(&identity.cluster, &identity.node.name, nonce);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            // The port, and every connection to it, is closed when the runtime is gone: etcd needs it.
            runtime.block_on(agree(identity, journal, memory))
        }
        Standing::Unknown(why) => {
            Err(refused(format!("{} {why}, and so is left alone. Move it away to start anew", paths::DATA)))
        }
    }
}

fn begin_life(journal: &mut Journal) -> Result<Nonce> {
    let nonce = Nonce::draw()?;
    journal.add(Event::Life { nonce })?;
    volume::mark(nonce)?;
    Ok(nonce)
}

/// Asks, decides, writes down, says so; again and again until etcd may start.
async fn agree(identity: &Identity, journal: &mut Journal, mut memory: Memory) -> Result<Start> {
    let (cluster, node) = (&identity.cluster, &identity.node);
    let asker = Asker::new(cluster, &node.tls)?;
    let listener = Listener::open(node.address, tls::server(&node.tls)?, words::write(&cluster.name, &memory)).await?;
    let mut accounts = Accounts::default();
    let mut answers = ask_all(&asker, identity, &listener);
    let mut rebuild = Rebuild::new(asker.clone());
    let mut told = String::new();
    loop {
        answers.hear(&mut accounts).await;
        let step = decide(&memory, &accounts.views());
        match step {
            Step::BeReady(lives) => {
                // First on the disk, then told: who was ready stays ready.
                journal.add(Event::Ready { lives: lives.clone() })?;
                memory.epochs.push(Epoch::new(cluster, lives));
                listener.say(words::write(&cluster.name, &memory));
            }
            Step::Start(id) => {
                let epoch = memory.epochs.iter().find(|epoch| epoch.id == id);
                let epoch = epoch.with_context(|| format!("a bug: never ready in the epoch {id}"))?;
                let start = Start::new_cluster(cluster, &epoch.token, epoch.lives.keys());
                let count = start.members.len();
                say(format!("all {count} initial members agree: a new cluster, token {}", epoch.token));
                let Start { token, members, .. } = start.clone();
                journal.add(Event::Bootstrap { token, members })?;
                // Whoever has not heard yet would wait for etcd's answer instead. It costs them time, no more.
                let others = cluster.members.iter().filter(|member| memory.others().any(|name| *name == member.name));
                listener.told(&others.map(|member| member.address.into()).collect(), PAUSE).await;
                return Ok(start);
            }
            Step::Wait | Step::Alive => {
                let mut now = accounts.tell(&memory, &step);
                if step == Step::Alive {
                    match rebuild.round(identity, journal, &accounts.living()).await? {
                        Round::Join(start) => return Ok(start),
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
