//! What has to be undone elsewhere, in whatever way the work ends that began it. A value that is dropped cannot wait.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

/// For how long the program waits for it in the end.
const PATIENCE: Duration = Duration::from_secs(15);

static BEGUN: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

fn begun() -> Vec<JoinHandle<()>> {
    std::mem::take(&mut *BEGUN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Begins it.
pub(super) fn begin(undo: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        BEGUN.lock().unwrap_or_else(PoisonError::into_inner).push(runtime.spawn(undo));
    }
}

/// Waits for all that was begun.
pub(super) async fn done() {
    let all = async {
        for one in begun() {
            let _ = one.await;
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        eprintln!("firstboot: what is left in the store could not be removed in {} s", PATIENCE.as_secs());
    }
}
