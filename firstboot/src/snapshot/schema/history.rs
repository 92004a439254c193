//! Checks that the bucket `key` contains all revisions that it must contain.
//!
//! Each transaction that changes anything uses the next main revision, and numbers its changes from
//! 0 (mvcc, kvstore_txn.go). etcd commits only complete transactions. Only compaction removes
//! revisions, and only up to the compacted revision. Therefore, above the compacted revision, every
//! revision and every change within a revision must be present. A missing revision or change means
//! that data was lost.

use bolt::{Faults, Offset};

use super::record::Revision;

/// The revisions read so far, in ascending order.
#[derive(Debug, Default)]
pub(super) struct History {
    last: Option<Revision>,
    /// The first revision after the last gap, its location in the file, and the revision before the
    /// gap. If there is no gap, the value describes the first revision.
    row: Option<(Revision, Offset, Option<Revision>)>,
    /// The last revision without content, and its location in the file.
    empty: Option<(Revision, Offset)>,
}

impl History {
    pub(super) fn next(&mut self, revision: Revision, place: Offset) {
        let follows = self.last.is_some_and(|last| {
            let same = revision.main == last.main && last.sub.checked_add(1) == Some(revision.sub);
            same || last.main.checked_add(1) == Some(revision.main) && revision.sub == 0
        });
        if !follows {
            self.row = Some((revision, place, self.last));
        }
        self.last = Some(revision);
    }

    /// Records a revision without content. `etcdutl snapshot restore --bump-revision` creates a
    /// revision without content, and marks all revisions up to this revision as compacted.
    pub(super) fn empty(&mut self, revision: Revision, place: Offset) {
        self.empty = Some((revision, place));
    }

    /// Returns the highest main revision, or 0 if there is none.
    pub(super) fn newest(&self) -> i64 {
        self.last.map_or(0, |last| last.main)
    }

    /// Reports two kinds of faults above the compacted revision: a gap in the revisions, and a
    /// revision without content.
    pub(super) fn check(&self, compacted: i64, faults: &mut Faults) {
        // The first transaction of a cluster has revision 2.
        let first = compacted.max(1).saturating_add(1);
        if let Some((found, place, before)) = self.row
            && (found.main > first || found.main == first && found.sub > 0)
        {
            let wanted = match before {
                Some(before) if before.main >= first => {
                    format!("the revision after {}.{}", before.main, before.sub)
                }
                _ => format!("revision {first}.0"),
            };
            let expected = format!(
                "{wanted}, because history was compacted only up to {compacted} (bucket `key`)"
            );
            faults.add(
                Some(place.page),
                place.offset,
                expected,
                format!("{}.{}", found.main, found.sub),
            );
        }
        if let Some((found, place)) = self.empty
            && found.main > compacted
        {
            let expected = "a key with its value, as etcd encodes it (bucket `key`)";
            faults.add(Some(place.page), place.offset, expected, "nothing");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(revisions: &[(i64, i64)], compacted: i64) -> Vec<String> {
        let mut history = History::default();
        for (main, sub) in revisions {
            history.next(
                Revision {
                    main: *main,
                    sub: *sub,
                    deletion: false,
                },
                Offset {
                    page: 7,
                    offset: 28_700,
                },
            );
        }
        let mut faults = Faults::default();
        history.check(compacted, &mut faults);
        faults.first().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn no_revision_above_the_compacted_one_may_be_missing() {
        for (whole, compacted) in [
            (&[][..], 0),
            (&[], 9),
            (&[(2, 0), (3, 0), (3, 1), (4, 0)], 0),
            (&[(2, 0)], 1),
            // Any of the compacted revisions may still be present.
            (&[(3, 1), (7, 0), (9, 4), (10, 0)], 9),
            (&[(3, 1), (10, 0), (10, 1)], 9),
            (&[(3, 1)], 9),
            (&[(1_000_000_000, 0), (1_000_000_001, 0)], 1_000_000_000),
        ] {
            assert_eq!(
                faults(whole, compacted),
                Vec::<String>::new(),
                "{whole:?} {compacted}"
            );
        }
        for (holed, compacted, expected) in [
            (
                &[(3, 0)][..],
                0,
                "revision 2.0, because history was compacted only up to 0 (bucket `key`), found \
                     3.0",
            ),
            (&[(2, 1)], 0, "expected revision 2.0"),
            (
                &[(2, 0), (3, 0), (5, 0), (6, 0)],
                0,
                "expected the revision after 3.0",
            ),
            (&[(2, 0), (3, 1)], 0, "expected the revision after 2.0"),
            (
                &[(2, 0), (3, 0), (3, 2)],
                0,
                "expected the revision after 3.0",
            ),
            (&[(5, 0), (9, 0), (11, 0)], 9, "expected revision 10.0"),
            (&[(9, 0), (10, 1)], 9, "expected revision 10.0"),
            (&[(i64::MAX, i64::MAX)], 9, "expected revision 10.0"),
        ] {
            let found = faults(holed, compacted);
            assert!(
                found.len() == 1 && found[0].contains(expected),
                "{holed:?} {compacted}: {found:?}"
            );
        }
    }
}
