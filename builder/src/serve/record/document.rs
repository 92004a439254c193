//! The state of the delivery of one node's document, without I/O. The state determines whether the
//! document may be downloaded again.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::time;

/// The record of a node's document. If a node has no record, its document has not been handed out
/// since the record of the cluster began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct DocumentDelivery {
    /// The time at which the server first handed out the document, or at which the machine first
    /// showed that it has the document. This time is removed when the delivery is allowed again, by
    /// the operator or by an attempt to install the machine.
    #[serde(
        default,
        with = "time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) first: Option<SystemTime>,
    /// The time at which the last attempt to install the machine ended without success. If that
    /// attempt changed nothing, the machine runs its old system, which has its document.
    #[serde(
        default,
        with = "time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) attempts_ended: Option<SystemTime>,
}

impl DocumentDelivery {
    /// Returns the record of a document that has not been handed out since its delivery was
    /// allowed.
    pub(crate) fn allowed() -> Self {
        Self::default()
    }

    /// Returns whether the document may be handed out. The document may be handed out for the whole
    /// `window` after the first delivery, because the answer may be lost, or the machine may lose
    /// power. The document may also be handed out for the whole `window` after the last attempt has
    /// ended, because the attempt may have succeeded without a report.
    pub(crate) fn is_open(&self, now: SystemTime, window: Duration) -> bool {
        let Some(start) = self.window_start() else {
            return true;
        };
        // If the clock has been set back, the window stays open.
        now.duration_since(start).unwrap_or_default() <= window
    }

    /// Returns the time at which the download window began, if it has begun.
    pub(crate) fn window_start(&self) -> Option<SystemTime> {
        self.first.or(self.attempts_ended)
    }

    /// Records that the last attempt to install the machine has ended without success.
    pub(crate) fn mark_attempts_ended(&mut self, now: SystemTime) {
        self.attempts_ended.get_or_insert(now);
    }

    /// Records that the document is handed out, or that the machine has it.
    pub(crate) fn mark_delivered(&mut self, now: SystemTime) {
        self.first.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(900);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn a_document_is_handed_out_again_until_the_window_closes() {
        let mut delivery = DocumentDelivery::allowed();
        assert!(delivery.is_open(at(0), WINDOW));
        delivery.mark_delivered(at(0));
        delivery.mark_delivered(at(600));
        assert_eq!(
            delivery.first,
            Some(at(0)),
            "the time of the first delivery must be recorded"
        );
        assert!(delivery.is_open(at(900), WINDOW));
        assert!(!delivery.is_open(at(901), WINDOW));
        assert!(
            delivery.is_open(at(0) - Duration::from_secs(5), WINDOW),
            "the window must stay open after the clock was set back"
        );
    }

    #[test]
    fn the_window_also_begins_when_the_last_attempt_has_ended() {
        let mut delivery = DocumentDelivery::allowed();
        delivery.mark_attempts_ended(at(0));
        delivery.mark_attempts_ended(at(600));
        assert_eq!(delivery.first, None, "the document was not handed out");
        assert!(delivery.is_open(at(900), WINDOW));
        assert!(!delivery.is_open(at(901), WINDOW));
    }
}
