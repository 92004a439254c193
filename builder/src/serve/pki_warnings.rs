//! Limits how often the server logs a warning about the PKI. Each certificate request finds the
//! same warnings again, and nodes with short-lived certificates send requests every few minutes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The time after which a warning is logged again.
const PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// The warnings that the server has logged, with their times.
#[derive(Debug, Default)]
pub(super) struct PkiWarnings(Mutex<BTreeMap<String, SystemTime>>);

impl PkiWarnings {
    /// Returns whether a warning must be logged. Records the time if the warning must be logged.
    pub(super) fn is_due(&self, text: &str, now: SystemTime) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // If the clock has been set back, the warning is logged again.
        logged.retain(|_, at| now.duration_since(*at).is_ok_and(|age| age < PERIOD));
        let is_due = !logged.contains_key(text);
        if is_due {
            logged.insert(text.to_owned(), now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_warning_is_logged_once_a_day() {
        let (warnings, begin) = (PkiWarnings::default(), SystemTime::UNIX_EPOCH);
        let is_due = |text, hours: u64| {
            let age = Duration::from_secs(hours * 60 * 60);
            warnings.is_due(text, begin + age)
        };
        assert!(is_due("one", 0));
        assert!(!is_due("one", 23));
        assert!(is_due("another", 23));
        assert!(is_due("one", 24));
        assert!(!is_due("another", 24));
        assert!(is_due("one", 1), "the clock was set back");
    }
}
