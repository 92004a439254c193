//! The times at which a task is repeated. systemd 219's timers and every member interpret a
//! schedule in the same way.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) const MINUTE: u64 = 60;
pub(crate) const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
/// The days of the week, beginning with Thursday, because 1970-01-01 was a Thursday.
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// A schedule: `hourly`, `daily`, `weekly`, `every 15 minutes`, `every 6 hours`, `02:30` or `Sun
/// 02:30`.
///
/// A schedule divides time into slots of equal length, so that machines whose clocks agree also
/// agree on the slot without communicating. Monthly schedules do not exist, because months differ
/// in length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    period: u64,
    offset: u64,
}

/// The error for a string that is not a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The text does not have the format of a schedule.
    #[error(
        "expected hourly, daily, weekly, `every 15 minutes`, `every 6 hours`, `02:30` or `Sun 02:30`"
    )]
    Syntax,
    /// The number of minutes does not divide an hour.
    #[error("expected a number of minutes that divides an hour: 5, 6, 10, 12, 15, 20 or 30")]
    Minutes,
    /// The number of hours does not divide a day.
    #[error("expected a number of hours that divides a day: 1, 2, 3, 4, 6, 8, 12 or 24")]
    Hours,
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let every = |period| Ok(Self { period, offset: 0 });
        match words[..] {
            ["hourly"] => every(HOUR),
            ["daily"] => every(DAY),
            // `weekly` means Monday, as in systemd.
            ["weekly"] => Ok(Self {
                period: WEEK,
                offset: 4 * DAY,
            }),
            ["every", number, "minute" | "minutes"] => match number.parse::<u64>() {
                // With an interval of less than five minutes, runs could overlap.
                Ok(minutes @ (5 | 6 | 10 | 12 | 15 | 20 | 30)) => every(minutes * MINUTE),
                _ => Err(ScheduleError::Minutes),
            },
            ["every", number, "hour" | "hours"] => match number.parse::<u64>() {
                Ok(hours @ (1 | 2 | 3 | 4 | 6 | 8 | 12 | 24)) => every(hours * HOUR),
                _ => Err(ScheduleError::Hours),
            },
            [clock] => Ok(Self {
                period: DAY,
                offset: time_of_day(clock).ok_or(ScheduleError::Syntax)?,
            }),
            [day, clock] => {
                let day = DAYS
                    .iter()
                    .position(|name| *name == day)
                    .ok_or(ScheduleError::Syntax)?;
                let offset = day as u64 * DAY + time_of_day(clock).ok_or(ScheduleError::Syntax)?;
                Ok(Self {
                    period: WEEK,
                    offset,
                })
            }
            _ => Err(ScheduleError::Syntax),
        }
    }
}

/// Converts `HH:MM` to seconds.
fn time_of_day(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, below: u64| {
        let two_digits = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
        text.parse::<u64>()
            .ok()
            .filter(|number| two_digits && *number < below)
    };
    Some(number(hours, 24)? * HOUR + number(minutes, 60)? * MINUTE)
}

impl Schedule {
    /// Returns the time between two runs, in seconds.
    pub const fn period(self) -> u64 {
        self.period
    }

    /// Returns the time at which the latest run at or before `now` was due. Both times are in
    /// seconds since 1970.
    pub const fn slot(self, now: u64) -> u64 {
        now - (now + self.period - self.offset) % self.period
    }

    /// Returns the schedule as the `OnCalendar=` value of a timer.
    pub fn on_calendar(self) -> String {
        let (hours, minutes) = (self.offset % DAY / HOUR, self.offset % HOUR / MINUTE);
        match self.period {
            WEEK => format!("{} *-*-* {hours:02}:{minutes:02}:00", self.day()),
            DAY => format!("*-*-* {hours:02}:{minutes:02}:00"),
            HOUR => "*-*-* *:00:00".to_owned(),
            period if period > HOUR => format!("*-*-* 00/{}:00:00", period / HOUR),
            period => format!("*-*-* *:00/{}:00", period / MINUTE),
        }
    }

    fn day(self) -> &'static str {
        usize::try_from(self.offset / DAY)
            .ok()
            .and_then(|day| DAYS.get(day))
            .unwrap_or(&"Thu")
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes) = (self.offset % DAY / HOUR, self.offset % HOUR / MINUTE);
        match self.period {
            WEEK => write!(f, "{} {hours:02}:{minutes:02}", self.day()),
            DAY => write!(f, "{hours:02}:{minutes:02}"),
            HOUR => f.write_str("hourly"),
            period if period > HOUR => write!(f, "every {} hours", period / HOUR),
            period => write!(f, "every {} minutes", period / MINUTE),
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = ScheduleError;
    fn try_from(text: String) -> Result<Self, ScheduleError> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule(text: &str) -> Schedule {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    const GOOD: [(&str, &str); 8] = [
        ("hourly", "*-*-* *:00:00"),
        ("daily", "*-*-* 00:00:00"),
        ("weekly", "Mon *-*-* 00:00:00"),
        ("every 15 minutes", "*-*-* *:00/15:00"),
        ("every 6 hours", "*-*-* 00/6:00:00"),
        ("every 24 hours", "*-*-* 00:00:00"),
        ("02:30", "*-*-* 02:30:00"),
        ("Sun 23:05", "Sun *-*-* 23:05:00"),
    ];

    #[test]
    fn a_timer_gets_the_same_schedule() {
        for (text, calendar) in GOOD {
            assert_eq!(schedule(text).on_calendar(), calendar);
            assert_eq!(
                schedule(&schedule(text).to_string()),
                schedule(text),
                "{text}"
            );
        }
    }

    #[test]
    fn slots_begin_at_the_times_of_the_schedule() {
        // 2026-11-22 was a Sunday; 1795312800 is 02:00 UTC on that day.
        let now = 1_795_312_800;
        assert_eq!(schedule("02:30").slot(now), now - 24 * HOUR + 30 * MINUTE);
        assert_eq!(schedule("Sun 02:00").slot(now), now);
        assert_eq!(schedule("Sun 02:00").slot(now - 1), now - WEEK);
        assert_eq!(schedule("hourly").slot(now + 59 * MINUTE), now);
        assert_eq!(schedule("weekly").slot(now), now - 2 * HOUR - 6 * DAY);
    }

    #[test]
    fn a_string_that_is_not_a_schedule_is_refused() {
        for bad in [
            "",
            "monthly",
            "every 7 minutes",
            "every 5 hours",
            "24:00",
            "2:30",
            "sun 02:30",
            "*-*-*",
            "+1:+2",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_slot_is_the_newest_time_that_is_due(which in 0..GOOD.len(), now in WEEK..5_000_000_000) {
            let schedule = schedule(GOOD[which].0);
            let slot = schedule.slot(now);
            prop_assert!(slot <= now && now < slot + schedule.period());
            prop_assert_eq!(schedule.slot(slot), slot);
            prop_assert_eq!(schedule.slot(slot + schedule.period()), slot + schedule.period());
        }
    }
}
