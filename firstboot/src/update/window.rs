//! Determines whether an update may start at this time of the day and week.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use recipes::Window;

use crate::reason::{Reason, ReasonId};
use members::timestamp::now;

/// Returns the time at which the window closes, in seconds since 1970, or `None` if the window is
/// closed now.
pub(super) fn closes_at(window: Window) -> Result<Option<u64>> {
    Ok(open_until_at(window, now(), offset()?))
}

/// Returns the reason why an update must not start now, or `None` if it may start.
pub(super) fn obstacle(window: Option<Window>) -> Result<Option<Reason>> {
    let Some(window) = window else {
        return Ok(None);
    };
    Ok(match closes_at(window)? {
        Some(_) => None,
        None => Some(closed(window)),
    })
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

/// Returns the number of seconds by which local time is ahead of UTC. Runs `date`, because Rust's
/// standard library does not provide the time zone.
fn offset() -> Result<i64> {
    let said = Command::new("date")
        .arg("+%z")
        .stdin(Stdio::null())
        .output()
        .context("cannot run `date +%z`")?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    seconds(&said).with_context(|| format!("`date +%z` printed `{said}`, which is not an offset"))
}

/// Parses an offset such as `+0530` into seconds.
fn seconds(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-'])?;
    if digits.len() != 4 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    let seconds = (number / 100 * 60 + number % 100) * 60;
    Some(if text.starts_with('-') {
        -seconds
    } else {
        seconds
    })
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

    #[test]
    fn the_offset_of_the_time_zone_is_parsed() {
        for (text, expected) in [
            ("+0000", Some(0)),
            ("+0530", Some(19_800)),
            ("-0930", Some(-34_200)),
            ("", None),
            ("UTC", None),
            ("+05:30", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert!(offset().is_ok());
    }
}
