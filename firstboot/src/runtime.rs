//! Runs asynchronous work from synchronous code.

use std::io;

use tokio::runtime::Builder;

/// Runs the work on this thread until the work is complete. Closes all connections of the work
/// before the function returns, because etcd waits a second for each open connection when it stops.
pub(crate) fn block_on<T, E: From<io::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}
