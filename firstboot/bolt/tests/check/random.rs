//! Tests that the walk terminates and does not panic for any input bytes.

use bolt::FileKind;
use proptest::prelude::*;

use crate::{look, sample};

fn forms() -> impl Strategy<Value = FileKind> {
    prop_oneof![Just(FileKind::Snapshot), Just(FileKind::Live)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_not_a_database(bytes in proptest::collection::vec(any::<u8>(), 0..5000), form in forms()) {
        prop_assert!(look(&bytes, form).0.faults.count() > 0);
    }

    #[test]
    fn a_damaged_database_is_walked_to_its_end(
        freelist: bool,
        form in forms(),
        harm in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..40),
        end in any::<proptest::sample::Index>(),
        cut: bool,
    ) {
        let (_, mut bytes, _) = sample(freelist);
        for (at, byte) in harm {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        // The lookup of one value also terminates, whether or not it finds the value.
        for (bucket, key) in [("tree", "b1"), ("tree", "a2"), ("empty", "x")] {
            let _ = bolt::get(&bytes[..], bytes.len() as u64, bucket.as_bytes(), key.as_bytes());
        }
        let (report, seen) = look(&bytes, form);
        // The visitor receives each key at most once, because no page is visited twice.
        prop_assert!(seen.len() <= bytes.len() / 16);
        prop_assert!(report.used <= bytes.len() as u64 / 1024);
    }
}
