//! Waits between two checks of an operation in progress.

use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);

/// Waits for a tenth of the time since `begun`, within limits. With this pause, the caller soon
/// notices the end of a quick operation, and does not disturb a slow operation with frequent
/// checks.
pub(crate) async fn pause(begun: Instant) {
    tokio::time::sleep((begun.elapsed() / 10).clamp(SHORTEST, LONGEST)).await;
}
