//! Asynchronous cleanup in a store after work that was interrupted in any way, because `Drop`
//! cannot wait for it.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

/// How long the program waits for the cleanup before it exits.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(15);

static BEGUN: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

fn begun() -> Vec<JoinHandle<()>> {
    std::mem::take(&mut *BEGUN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Starts a cleanup task.
pub(super) fn begin(undo: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        BEGUN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(runtime.spawn(undo));
    }
}

/// Waits for all cleanup tasks.
pub(super) async fn wait() {
    let all = async {
        for one in begun() {
            let _ = one.await;
        }
    };
    if tokio::time::timeout(CLEANUP_TIMEOUT, all).await.is_err() {
        eprintln!(
            "firstboot: cannot delete the rest of an upload in the store within {} s",
            CLEANUP_TIMEOUT.as_secs()
        );
    }
}
