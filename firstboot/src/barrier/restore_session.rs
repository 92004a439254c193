//! What a node does at the barrier that an operator told to restore: it makes ready what it will begin with before it
//! says that it is ready, it hands the snapshot to those that have none, and it may be called off.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use recipes::Sha256;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::epoch::Epoch;
use crate::domain::Start;

/// What came of a barrier.
#[derive(Debug)]
pub(crate) enum BarrierOutcome {
    /// A cluster lives, and etcd may join it as this.
    Join(Start),
    /// All are ready in this epoch.
    Agreed(Epoch),
    /// Nothing, and why: what was before goes on.
    Abandoned(anyhow::Error),
    /// The terminal is gone; another process shall go on.
    HandedOver,
}

/// Makes ready what an epoch begins with.
pub(crate) type Prepare = Arc<dyn Fn(&Epoch) -> Result<()> + Send + Sync>;

/// What is to be done at the barrier beside agreeing.
pub(crate) struct RestoreSession {
    prepare: Prepare,
    /// The snapshot, for those that ask for it.
    pub(crate) file: Option<(Sha256, PathBuf)>,
    until: Instant,
    signals: Option<Signals>,
}

impl fmt::Debug for RestoreSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand").field("file", &self.file).field("until", &self.until).finish_non_exhaustive()
    }
}

/// What a person at a terminal can do.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// Why it goes no further.
#[derive(Debug)]
pub(crate) enum Cancellation {
    /// The terminal is gone.
    HandOver,
    /// By the operator, or since it took too long.
    GiveUp(String),
}

impl RestoreSession {
    /// To be given up after `patience`, and by ^C where somebody sits `at_terminal`. It needs a runtime.
    pub(crate) fn new(
        prepare: Prepare,
        file: Option<(Sha256, PathBuf)>,
        patience: Duration,
        at_terminal: bool,
    ) -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let signals = if at_terminal {
            Some(Signals {
                interrupt: listen(SignalKind::interrupt())?,
                terminate: listen(SignalKind::terminate())?,
                hangup: listen(SignalKind::hangup())?,
            })
        } else {
            None
        };
        Ok(Self { prepare, file, until: Instant::now() + patience, signals })
    }

    /// Makes ready. The others are answered meanwhile.
    pub(crate) async fn prepare(&self, epoch: &Epoch) -> Result<()> {
        let (prepare, epoch) = (self.prepare.clone(), epoch.clone());
        tokio::task::spawn_blocking(move || prepare(&epoch)).await.context("a bug: making ready was cut short")?
    }

    /// Returns when somebody has had enough.
    pub(crate) async fn cancelled(&mut self) -> Cancellation {
        let by = |what: &str| Cancellation::GiveUp(format!("given up by {what}"));
        let too_late = tokio::time::sleep_until(self.until.into());
        let late = || Cancellation::GiveUp("given up, since not all were ready in time (--deadline)".to_owned());
        match &mut self.signals {
            None => {
                too_late.await;
                late()
            }
            Some(Signals { interrupt, terminate, hangup }) => tokio::select! {
                () = too_late => late(),
                _ = interrupt.recv() => by("^C"),
                _ = terminate.recv() => by("SIGTERM"),
                _ = hangup.recv() => Cancellation::HandOver,
            },
        }
    }
}
