//! Determines whether an update may start at this time of the day and week.

use recipes::Window;

use crate::local_time;
use crate::reason::{Reason, ReasonId};
use members::timestamp::now;

/// Returns the time at which the window closes, in seconds since 1970, or `None` if the window is
/// closed now.
pub(super) fn closes_at(window: Window) -> Option<u64> {
    let now = now();
    open_until_at(window, now, local_time::offset(now))
}

/// Returns the reason why an update must not start now, or `None` if it may start.
pub(super) fn obstacle(window: Option<Window>) -> Option<Reason> {
    let window = window?;
    match closes_at(window) {
        Some(_) => None,
        None => Some(closed(window)),
    }
}

/// Returns the reason to report for a closed window.
pub(super) fn closed(window: Window) -> Reason {
    ReasonId::UpdateWindow.because(format!(
        "an update begins only in the window that [update] sets: {window}"
    ))
}

/// Computes the time at which the window closes. The window is in local time, and `offset` is the
/// number of seconds by which local time is ahead of UTC.
fn open_until_at(window: Window, now: u64, offset: i64) -> Option<u64> {
    let local = now.checked_add_signed(offset)?;
    window
        .closes_at(local)?
        .checked_sub(local)?
        .checked_add(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_in_local_time() {
        // This time is Sunday, 02:00 UTC.
        let two = 1_795_312_800;
        let window = "Sun 02:30 for 2 hours".parse().unwrap();
        assert_eq!(open_until_at(window, two, 0), None);
        assert_eq!(open_until_at(window, two, 3600), Some(two + 5400));
        assert_eq!(open_until_at(window, two + 3600, -3600), None);
    }
}
