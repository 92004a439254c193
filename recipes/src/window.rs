//! The window of time in which an update may begin: a schedule with a length.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::schedule::{HOUR, MINUTE, Schedule, ScheduleError};

/// A window of time: a schedule with a length, as in `Sun 02:30 for 2 hours`.
///
/// The window opens at each time of the schedule and stays open for its length. The length is
/// shorter than the schedule's period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    opens: Schedule,
    length: u64,
}

/// The error for a string that is not a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The text does not have the format of a window.
    #[error(
        "expected a schedule and a length, as in `02:30 for 2 hours` or `Sun 02:30 for 90 minutes`"
    )]
    Syntax,
    /// The text before `for` is not a schedule.
    #[error("before `for`: {0}")]
    Schedule(ScheduleError),
    /// The length is 0, or is not shorter than the schedule's period.
    #[error(
        "expected a length that is more than 0 and shorter than the time from one opening to the \
         next"
    )]
    Length,
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let (opens, length) = text.split_once(" for ").ok_or(WindowError::Syntax)?;
        let opens: Schedule = opens.parse().map_err(WindowError::Schedule)?;
        let words: Vec<&str> = length.split_whitespace().collect();
        let [number, unit] = words[..] else {
            return Err(WindowError::Syntax);
        };
        let unit = match unit {
            "minute" | "minutes" => MINUTE,
            "hour" | "hours" => HOUR,
            _ => return Err(WindowError::Syntax),
        };
        if !number.bytes().all(|c| c.is_ascii_digit()) {
            return Err(WindowError::Syntax);
        }
        // A number that is too large to parse is also too large for a length.
        let number: u64 = number.parse().map_err(|_| WindowError::Length)?;
        let length = number.checked_mul(unit).ok_or(WindowError::Length)?;
        if length == 0 || length >= opens.period() {
            return Err(WindowError::Length);
        }
        Ok(Self { opens, length })
    }
}

impl Window {
    /// Returns how long the window stays open each time, in seconds.
    pub const fn length(self) -> u64 {
        self.length
    }

    /// If the window is open at the time `now`, returns the time at which it closes. Both times are
    /// in seconds since 1970.
    pub fn closes_at(self, now: u64) -> Option<u64> {
        let end = self.opens.slot(now) + self.length;
        (now < end).then_some(end)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = if self.length.is_multiple_of(HOUR) {
            (self.length / HOUR, "hour")
        } else {
            (self.length / MINUTE, "minute")
        };
        let plural = if number == 1 { "" } else { "s" };
        write!(f, "{} for {number} {unit}{plural}", self.opens)
    }
}

impl TryFrom<String> for Window {
    type Error = WindowError;
    fn try_from(text: String) -> Result<Self, WindowError> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * HOUR;

    fn window(text: &str) -> Window {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_window_is_open_from_its_schedule_for_its_length() {
        // This time is Sunday, 02:00 UTC.
        let two = 1_795_312_800;
        let night = window("Sun 02:30 for 2 hours");
        for (at, end) in [
            (two, None),
            (two + 30 * MINUTE - 1, None),
            (two + 30 * MINUTE, Some(two + 150 * MINUTE)),
            (two + 150 * MINUTE - 1, Some(two + 150 * MINUTE)),
            (two + 150 * MINUTE, None),
            (two + DAY + 30 * MINUTE, None),
        ] {
            assert_eq!(night.closes_at(at), end, "{}", at - two);
        }
        // This window extends past midnight.
        let late = window("23:30 for 90 minutes");
        assert_eq!(late.closes_at(two - 90 * MINUTE), Some(two - HOUR));
        assert_eq!(late.closes_at(two - HOUR), None);
        for text in [
            "Sun 02:30 for 2 hours",
            "23:30 for 90 minutes",
            "hourly for 10 minutes",
        ] {
            assert_eq!(window(text).to_string(), text);
        }
    }

    #[test]
    fn a_string_that_is_not_a_window_is_refused() {
        for bad in [
            "",
            "02:30",
            "02:30 for",
            "02:30 for 2",
            "02:30 for 0 minutes",
            "02:30 for 24 hours",
            "hourly for 60 minutes",
            "monthly for 2 hours",
            "02:30 for two hours",
            "02:30 for +2 hours",
            "02:30 for 99999999999999999999 hours",
            "02:30 for 9999999999999999999 hours",
        ] {
            assert!(bad.parse::<Window>().is_err(), "{bad}");
        }
    }
}
