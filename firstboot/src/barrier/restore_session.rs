//! Performs the additional barrier tasks of a node that has a restore order. The node prepares
//! its new data before it accepts a proposal, sends the snapshot to members that do not have it,
//! and lets the operator cancel the restore.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use recipes::Sha256;

use super::proposal::Proposal;
use crate::domain::InitialCluster;
use crate::terminal::{TerminalEvent, TerminalSignals};

/// The outcome of a barrier.
#[derive(Debug)]
pub(crate) enum BarrierOutcome {
    /// A cluster is running, and etcd joins it with these parameters.
    Join(InitialCluster),
    /// All members have accepted this proposal.
    Agreed(Proposal),
    /// The members did not agree, the new data could not be prepared, or the restore was cancelled.
    /// The error contains the reason. The node continues with its previous data.
    Abandoned(anyhow::Error),
    /// firstboot.service continues the restore, because the terminal was closed or, for this
    /// reason, because the restore can no longer be cancelled.
    HandedOver(Option<anyhow::Error>),
}

/// A function that ensures that this node has the initial data of a proposal's cluster.
pub(crate) type EnsureData = Arc<dyn Fn(&Proposal) -> Result<()> + Send + Sync>;

/// A restore in progress.
pub(crate) struct RestoreSession {
    ensure_data: EnsureData,
    /// The snapshot, for members that request it.
    pub(crate) file: Option<(Sha256, PathBuf)>,
    until: Instant,
    signals: Option<TerminalSignals>,
}

impl fmt::Debug for RestoreSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreSession")
            .field("file", &self.file)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// The event that ends a session before the members agree.
#[derive(Debug)]
pub(crate) enum Cancellation {
    /// The terminal was closed.
    HandOver,
    /// A signal interrupted the restore, or the deadline passed. The text describes the cause.
    Abandon(String),
}

impl RestoreSession {
    /// Creates a session that is cancelled after `patience`. If `at_terminal` is set, a signal also
    /// cancels the session. The caller must be inside an async runtime.
    pub(crate) fn new(
        ensure_data: EnsureData,
        file: Option<(Sha256, PathBuf)>,
        patience: Duration,
        at_terminal: bool,
    ) -> Result<Self> {
        Ok(Self {
            ensure_data,
            file,
            until: Instant::now() + patience,
            signals: at_terminal.then(TerminalSignals::listen).transpose()?,
        })
    }

    /// Prepares the data in another thread, while the server continues to answer the other members.
    /// Returns the cancellation if the session was cancelled in the meantime.
    pub(crate) async fn ensure_data(
        &mut self,
        proposal: &Proposal,
        bound: bool,
    ) -> Result<Option<Cancellation>> {
        let (ensure_data, proposal) = (self.ensure_data.clone(), proposal.clone());
        tokio::task::spawn_blocking(move || ensure_data(&proposal))
            .await
            .context("a bug: the preparation of the data was aborted")??;
        Ok(self.was_cancelled(bound).await)
    }

    /// Returns the cancellation if a signal or the deadline has already ended the session.
    async fn was_cancelled(&mut self, bound: bool) -> Option<Cancellation> {
        tokio::select! {
            biased;
            why = self.cancelled(bound) => Some(why),
            () = std::future::ready(()) => None,
        }
    }

    /// Resolves when a signal or the deadline ends the session. If the restore is binding on this
    /// node, the session of firstboot.service has no deadline.
    pub(crate) async fn cancelled(&mut self, bound: bool) -> Cancellation {
        let by = |what: &str| Cancellation::Abandon(format!("the restore was cancelled by {what}"));
        let too_late = tokio::time::sleep_until(self.until.into());
        let late = || {
            Cancellation::Abandon(
                "the restore was cancelled: not all members were ready before --deadline expired"
                    .to_owned(),
            )
        };
        match &mut self.signals {
            None if bound => std::future::pending().await,
            None => {
                too_late.await;
                late()
            }
            Some(signals) => tokio::select! {
                () = too_late => late(),
                event = signals.next() => match event {
                    TerminalEvent::Interrupt => by("^C"),
                    TerminalEvent::Terminate => by("SIGTERM"),
                    TerminalEvent::Hangup => Cancellation::HandOver,
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_deadline_ends_a_session_of_the_service_unless_the_restore_is_binding() {
        let mut session =
            RestoreSession::new(Arc::new(|_| Ok(())), None, Duration::ZERO, false).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(50), session.cancelled(true)).await;
        assert!(waited.is_err(), "{waited:?}");
        assert!(matches!(
            session.cancelled(false).await,
            Cancellation::Abandon(why) if why.contains("--deadline")
        ));
        assert!(session.was_cancelled(false).await.is_some());
        assert!(session.was_cancelled(true).await.is_none());
    }
}
