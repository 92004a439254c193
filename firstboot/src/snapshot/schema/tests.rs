use bolt::{Entry, Faults, Path, Place, Visit as _};
use proptest::prelude::*;

use super::record::{self, Record, Revision};
use super::{Contents, Reader};

/// What comes of these entries: bucket, key, value.
fn read(entries: &[(&str, &[u8], &[u8])]) -> (Contents, Vec<String>) {
    let mut progress = |_| ();
    let mut reader = Reader::new(&mut progress);
    let mut faults = Faults::default();
    for (bucket, key, value) in entries {
        let bucket = Path { name: bucket.as_bytes(), parent: None };
        reader.bucket(&bucket);
        reader.entry(&Entry { bucket: &bucket, key, value, place: Place { page: 7, offset: 28_700 } }, &mut faults);
    }
    let contents = reader.finish(&mut faults);
    (contents, faults.first().iter().map(ToString::to_string).collect())
}

fn revision(main: i64, sub: i64, mark: &str) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes(), mark.as_bytes()].concat()
}

/// A record of the key `k`, of small numbers.
fn record(created: u8, modified: u8, version: u8) -> Vec<u8> {
    vec![0x0a, 1, b'k', 0x10, created, 0x18, modified, 0x20, version, 0x2a, 1, b'v']
}

const DELETED: &[u8] = &[0x0a, 1, b'k'];

#[test]
fn contents_are_counted() {
    let (contents, faults) = read(&[
        ("auth", b"authEnabled", &[1]),
        ("key", &revision(2, 0, ""), &record(2, 2, 1)),
        ("key", &revision(3, 0, ""), &record(2, 3, 2)),
        ("key", &revision(4, 1, "t"), DELETED),
        ("lease", &9_i64.to_be_bytes(), &[0x08, 9, 0x10, 60]),
        ("members", b"8e9e05c52164694d", br#"{"id":10276657743932975437,"peerURLs":["http://a:2380"],"name":"a"}"#),
        ("meta", b"consistent_index", &12_u64.to_be_bytes()),
        ("meta", b"term", &3_u64.to_be_bytes()),
        ("meta", b"scheduledCompactRev", &revision(3, 0, "")),
        ("meta", b"finishedCompactRev", &revision(2, 0, "")),
        ("meta", b"storageVersion", b"3.6.0"),
    ]);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!((contents.revision, contents.compacted, contents.compacting, contents.keys), (4, 3, true, 11));
    assert_eq!((contents.index, contents.term, contents.storage_version.as_deref()), (12, 3, Some("3.6.0")));
    assert_eq!((contents.auth_enabled, contents.leases, contents.members[0].name.as_str()), (true, 1, "a"));
}

#[test]
fn a_member_starts_no_lower_than_history_was_compacted() {
    for (compacted, stands) in [(9, 9), (3, 5)] {
        let (five, record, compacted) = (revision(5, 0, ""), record(5, 5, 1), revision(compacted, 0, ""));
        let (contents, _) = read(&[("key", &five, &record), ("meta", b"finishedCompactRev", &compacted)]);
        assert_eq!(contents.revision, stands);
    }
}

#[test]
fn a_bumped_revision_has_nothing_in_it() {
    let (contents, faults) = read(&[("key", &revision(1_000_000_000, 0, ""), b""), ("meta", b"term", &[0; 8])]);
    assert_eq!((contents.revision, faults.len()), (1_000_000_000, 0));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_without_its_contents() {
    let found = |bucket: &str, key: &[u8], value: &[u8]| {
        read(&[(bucket, key, value), ("key", b"", b""), ("meta", b"x", b"")]).1.remove(0)
    };
    let two = revision(2, 0, "");
    assert_eq!(
        found("key", b"secret", b""),
        "page 7, byte 28700: expected a revision: 17 bytes, or 18 for a deletion (bucket `key`), found 6 other bytes"
    );
    assert!(found("key", &two, b"secret").starts_with("page 7, byte 28717: expected a key with its value"));
    assert!(found("key", &two, &record(2, 3, 1)).contains("mod_revision 2"));
    assert!(found("key", &two, &record(3, 2, 1)).contains("create_revision from 1"));
    assert!(found("key", &revision(2, 0, "t"), &record(2, 2, 1)).contains("nothing but the key"));
    assert!(found("lease", &[0; 8], &[0x08, 9]).contains("a lease with the ID"));
    assert!(found("members", b"ff", br#"{"id":1}"#).contains("the member's ID, 1"));
    assert!(found("members", b"1", b"{").contains("a member in JSON"));
    assert!(found("meta", b"term", b"1").contains("term of 8 bytes"));
    assert!(found("meta", b"finishedCompactRev", b"1").contains("17 bytes"));
}

#[test]
fn another_program_s_database_is_not_etcd_s() {
    let (_, faults) = read(&[("things", b"a", b"b")]);
    assert_eq!(faults[0], "byte 0: expected etcd's bucket `key`, found no such bucket");
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Record::parse(&bytes), record::lease(&bytes), Revision::parse(&bytes));
    }

    #[test]
    fn a_revision_is_read_as_it_was_written(main in 1..=i64::MAX, sub in 0..=i64::MAX, deletion: bool) {
        let bytes = revision(main, sub, if deletion { "t" } else { "" });
        prop_assert_eq!(Revision::parse(&bytes), Some(Revision { main, sub, deletion }));
    }
}
