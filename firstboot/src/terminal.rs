//! Handles the signals that end a command: SIGINT (^C), SIGTERM, and SIGHUP when the terminal is
//! closed. While a command has stopped firstboot.service or etcd, such a signal must not end the
//! command, because then no process would start the units again.

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{self, SignalKind, signal};

/// A signal that ends a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TerminalEvent {
    Interrupt,
    Terminate,
    /// The terminal was closed.
    Hangup,
}

fn all() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

/// Signals that are held back. When this value is dropped, the kernel delivers the signals. Each
/// signal then ends the process, unless [`TerminalSignals`] receives the signal.
#[derive(Debug)]
pub(crate) struct HeldSignals(());

impl HeldSignals {
    /// Holds the signals back in this thread, and in the threads that it starts.
    pub(crate) fn hold() -> Result<Self> {
        all().thread_block().context("cannot hold signals back")?;
        Ok(Self(()))
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        let _ = all().thread_unblock();
    }
}

/// Receives the signals. From the creation of this value on, the signals no longer end the process,
/// even after the value has been dropped.
#[derive(Debug)]
pub(crate) struct TerminalSignals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl TerminalSignals {
    /// Starts to receive the signals, including those that were held back. The caller must be
    /// inside an async runtime.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let signals = Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        };
        all().thread_unblock().context("cannot receive signals")?;
        Ok(signals)
    }

    /// Waits for a signal.
    pub(crate) async fn next(&mut self) -> TerminalEvent {
        tokio::select! {
            _ = self.interrupt.recv() => TerminalEvent::Interrupt,
            _ = self.terminate.recv() => TerminalEvent::Terminate,
            _ = self.hangup.recv() => TerminalEvent::Hangup,
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    /// Without `hold`, the signal would end the process of the test.
    #[test]
    fn a_signal_that_was_held_back_is_received_later() {
        let held = HeldSignals::hold().unwrap();
        raise(Signal::SIGHUP).unwrap();
        let event = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async { TerminalSignals::listen().unwrap().next().await });
        assert_eq!(event, TerminalEvent::Hangup);
        drop(held);
    }
}
