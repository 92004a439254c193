//! The current time, and times and durations as text.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;

/// Returns the current time in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// Formats a duration as a whole number with a unit.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Formats a time in seconds since 1970 as in RFC 3339.
pub fn rfc3339(time: u64) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let date_time = i64::try_from(time)
        .ok()
        .and_then(|time| time::OffsetDateTime::from_unix_timestamp(time).ok());
    date_time
        .and_then(|date_time| date_time.format(format).ok())
        .unwrap_or_else(|| time.to_string())
}

/// Formats a time from a certificate in the format of RFC 3339.
pub fn date(time: UnixTime) -> String {
    rfc3339(time.as_secs())
}
