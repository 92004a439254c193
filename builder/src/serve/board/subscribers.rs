//! The open pages, each of which receives every event.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::body::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::serve::refusal::{Refusal, RefusalId};

/// The maximum number of open pages. Each page keeps a connection open.
const MAX_PAGES: usize = 64;
/// The number of events that may wait for one page. A page whose queue is full is closed.
const MAX_WAITING: usize = 4;

/// The open pages.
#[derive(Debug, Default)]
pub(super) struct Pages {
    open: Mutex<Vec<Sender<Bytes>>>,
    /// The newest event, which a new page receives first.
    newest: Mutex<Option<Bytes>>,
}

/// The events of one page.
#[derive(Debug)]
pub(in crate::serve) struct Events(Receiver<Bytes>);

impl Events {
    /// Returns no events, for the answer to a HEAD request, which has no body.
    pub(super) fn none() -> Self {
        Self(channel(1).1)
    }

    pub(in crate::serve) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.poll_recv(cx)
    }
}

impl Pages {
    /// Opens a page, or refuses if the maximum number of pages is open.
    pub(super) fn open(&self) -> Result<Events, Refusal> {
        let (sender, receiver) = channel(MAX_WAITING);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|page| !page.is_closed());
        if open.len() >= MAX_PAGES {
            return Err(Refusal::unavailable(
                RefusalId::BoardBusy,
                format!("{MAX_PAGES} pages are already open; this page reloads itself instead"),
            ));
        }
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let first = newest
            .clone()
            .unwrap_or_else(|| Bytes::from_static(b":\n\n"));
        // The channel is empty, so it has room for one event.
        let _ = sender.try_send(first);
        open.push(sender);
        Ok(Events(receiver))
    }

    /// Sends an event to all pages, and closes those whose queue is full.
    pub(super) fn send(&self, event: &Bytes) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|page| page.try_send(event.clone()).is_ok());
    }

    /// Sends an event to all open pages, and to each page that opens before the next event.
    pub(super) fn publish(&self, event: Bytes) {
        self.send(&event);
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(event);
    }

    /// Returns whether any page is open. If no page is open, also discards the newest event, which
    /// would be outdated when the next page opens.
    pub(super) fn are_open(&self) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|page| !page.is_closed());
        if open.is_empty() {
            *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        !open.is_empty()
    }
}
