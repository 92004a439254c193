//! Runs the asynchronous cleanup of a store after interrupted work, because `Drop` cannot wait for
//! asynchronous work.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

/// The time for which the program waits for the cleanup before it exits.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(15);

static BEGUN: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

fn begun() -> Vec<JoinHandle<()>> {
    std::mem::take(&mut *BEGUN.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(super) fn begin(undo: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        BEGUN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(runtime.spawn(undo));
    }
}

/// Waits for all cleanup tasks, for at most [`CLEANUP_TIMEOUT`].
pub(super) async fn wait() {
    let all = async {
        for one in begun() {
            let _ = one.await;
        }
    };
    if tokio::time::timeout(CLEANUP_TIMEOUT, all).await.is_err() {
        eprintln!(
            "firstboot: could not delete an incomplete upload from the store within {} s",
            CLEANUP_TIMEOUT.as_secs()
        );
    }
}
