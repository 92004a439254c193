//! How soon to look again at something that takes its time.

use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);

/// Waits a tenth of the time that it has taken since `begun`, within bounds: what is quick is seen at once, and what is
/// slow is not disturbed.
pub(crate) async fn pause(begun: Instant) {
    tokio::time::sleep((begun.elapsed() / 10).clamp(SHORTEST, LONGEST)).await;
}
