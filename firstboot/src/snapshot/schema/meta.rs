//! Checks the bucket `meta` (storage/schema/cindex.go, confstate.go and version.go; mvcc/store.go).

use serde::Deserialize;

use super::cluster::minor;
use super::record::Revision;

#[derive(Debug, Default)]
pub(super) struct Meta {
    pub(super) index: Option<u64>,
    pub(super) term: Option<u64>,
    scheduled: Option<i64>,
    finished: Option<i64>,
    /// The minor version in the storage version, 3.MINOR.0. A storage version exists from 3.6 on.
    pub(super) storage: Option<u64>,
}

/// raftpb.ConfState.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the fields serve only to check that the value can be parsed"
)]
struct ConfState {
    voters: Vec<u64>,
    #[serde(default)]
    learners: Vec<u64>,
    #[serde(default)]
    voters_outgoing: Vec<u64>,
    #[serde(default)]
    learners_next: Vec<u64>,
    auto_leave: bool,
}

impl Meta {
    /// Checks an entry of `meta`. Returns the expected content if the entry is invalid.
    pub(super) fn setting(&mut self, key: &[u8], value: &[u8]) -> Option<&'static str> {
        let number = || {
            <[u8; 8]>::try_from(value)
                .ok()
                .map(u64::from_be_bytes)
                .filter(|number| *number > 0)
        };
        let revision =
            || Revision::parse(value).filter(|revision| !revision.deletion && revision.sub == 0);
        let is_read = match key {
            b"consistent_index" => {
                self.index = number();
                self.index.is_some()
            }
            b"term" => {
                self.term = number();
                self.term.is_some()
            }
            b"scheduledCompactRev" => {
                self.scheduled = revision().map(|revision| revision.main);
                self.scheduled.is_some()
            }
            b"finishedCompactRev" => {
                self.finished = revision().map(|revision| revision.main);
                self.finished.is_some()
            }
            b"storageVersion" => {
                // A storage version below 3.6 is a fault, because no earlier version of etcd writes
                // a storage version.
                self.storage = minor(value).filter(|minor| *minor >= 6);
                self.storage.is_some()
            }
            b"confState" => serde_json::from_slice::<ConfState>(value)
                .is_ok_and(|state| !state.voters.is_empty()),
            _ => return Some("a key that etcd 3.4 to 3.7 uses"),
        };
        if is_read {
            return None;
        }
        Some(match key {
            b"storageVersion" => "a storage version in the form 3.MINOR.0, at least 3.6.0",
            b"confState" => "raft's confState in JSON, with at least one voter",
            b"consistent_index" | b"term" => "a number of 8 bytes that is at least 1",
            _ => "a compacted revision of 17 bytes",
        })
    }

    /// Returns the revision up to which the newest compaction removes the history, or 0 if there
    /// was no compaction. The compaction may still be in progress.
    pub(super) fn compacted(&self) -> i64 {
        self.scheduled.max(self.finished).unwrap_or(0)
    }

    pub(super) fn compacting(&self) -> bool {
        self.scheduled > self.finished
    }

    /// Returns the expected content if the bucket's entries contradict each other or contradict the
    /// newest revision.
    pub(super) fn fault(&self, newest: i64) -> Option<&'static str> {
        match () {
            () if self.finished > self.scheduled => {
                Some("a compaction that was scheduled before it was finished")
            }
            // A compaction in progress cannot have removed its last revision yet. It removes
            // revisions in ascending order, and the step that removes the last revision also marks
            // the compaction as finished. There is one exception: if the last revision is a
            // deletion and the last batch is full, etcd 3.4 and 3.5 write the mark a moment later.
            () if self.compacting() && self.scheduled > Some(newest) => Some(
                "a compaction in progress up to an existing revision (if the snapshot was taken while a compaction ended, take another snapshot)",
            ),
            () if self.term.is_some() && self.index.is_none() => {
                Some("`consistent_index`, because there is a `term`")
            }
            // From 3.5 on, etcd writes the index and the term together.
            () if self.storage.is_some() && self.term.is_none() => {
                Some("`term`, because there is a `storageVersion`")
            }
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn revision(main: i64, sub: i64) -> Vec<u8> {
        [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes()].concat()
    }

    #[test]
    fn settings_are_read_as_etcd_writes_them() {
        let mut meta = Meta::default();
        for (key, value) in [
            (&b"consistent_index"[..], &12_u64.to_be_bytes()[..]),
            (b"term", &2_u64.to_be_bytes()),
            (b"scheduledCompactRev", &revision(9, 0)),
            // `etcdctl compaction 0` counts as a compaction.
            (b"finishedCompactRev", &revision(0, 0)),
            (b"storageVersion", b"3.6.0"),
            (
                b"confState",
                br#"{"voters":[1,2],"learners":[3],"auto_leave":false}"#,
            ),
        ] {
            assert_eq!(meta.setting(key, value), None, "{key:?}");
        }
        assert_eq!(
            (meta.compacted(), meta.compacting(), meta.fault(9)),
            (9, true, None)
        );
        for (key, value) in [
            (&b"consistent_index"[..], &[0; 8][..]),
            (b"consistent_index", &[1; 7]),
            (b"teri", &[1; 8]),
            (b"term", &[1; 9]),
            (b"scheduledCompactRev", &revision(9, 1)),
            (b"scheduledCompactRev", &[1; 17]),
            (b"finishedCompactRev", &revision(-1, 0)),
            (b"storageVersion", b"3.4.0"),
            (b"storageVersion", b"2.6.0"),
            (b"storageVersion", b""),
            (b"confState", br#"{"voters":[],"auto_leave":false}"#),
            (b"confState", br#"{"voterr":[1],"auto_leave":false}"#),
            (b"confState", b"{}"),
        ] {
            assert!(
                Meta::default().setting(key, value).is_some(),
                "{key:?} {value:?}"
            );
        }
    }

    #[test]
    fn contradictory_settings_are_reported() {
        let with = |keys: &[&str]| {
            let mut meta = Meta::default();
            for key in keys {
                let value = match *key {
                    "storageVersion" => b"3.6.0".to_vec(),
                    "finishedCompactRev" | "scheduledCompactRev" => revision(9, 0),
                    _ => vec![1; 8],
                };
                assert_eq!(meta.setting(key.as_bytes(), &value), None);
            }
            meta.fault(9)
        };
        for good in [
            &[][..],
            &["consistent_index"],
            &["consistent_index", "term", "storageVersion"],
            &["scheduledCompactRev"],
        ] {
            assert_eq!(with(good), None, "{good:?}");
        }
        for wrong in [
            &["term"][..],
            &["consistent_index", "storageVersion"],
            &["finishedCompactRev"],
        ] {
            assert!(with(wrong).is_some(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(key in "consistent_index|scheduledCompactRev|storageVersion|confState|x", value in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Meta::default().setting(key.as_bytes(), &value);
        }
    }
}
