use bolt::{Entry, Faults, Offset, Path, Visitor as _};
use proptest::prelude::*;

use super::record::{Record, Revision};
use super::{BUCKETS, DatabaseContents, Reader};

type Entries<'a> = Vec<(&'a str, &'a [u8], &'a [u8])>;

const PLACE: Offset = Offset {
    page: 7,
    offset: 28_700,
};

/// Reads a database with these entries (bucket, key and value) and all of etcd's buckets. Returns
/// the database's contents and faults.
fn read(entries: &[(&str, &[u8], &[u8])]) -> (DatabaseContents, Vec<String>) {
    let mut progress = |_| ();
    let mut reader = Reader::new(&mut progress);
    let mut faults = Faults::default();
    let names = entries
        .iter()
        .map(|(bucket, ..)| bucket.as_bytes())
        .chain(BUCKETS);
    for name in names.collect::<std::collections::BTreeSet<_>>() {
        let bucket = Path { name, parent: None };
        reader.bucket(&bucket, PLACE, &mut faults);
        for (_, key, value) in entries
            .iter()
            .filter(|(bucket, ..)| bucket.as_bytes() == name)
        {
            reader.entry(
                &Entry {
                    bucket: &bucket,
                    key,
                    value,
                    place: PLACE,
                },
                &mut faults,
            );
        }
    }
    let contents = reader.finish(&mut faults);
    (
        contents,
        faults.first().iter().map(ToString::to_string).collect(),
    )
}

/// Returns these entries together with the entries that every valid etcd database contains.
fn with<'a>(entries: &[(&'a str, &'a [u8], &'a [u8])]) -> Entries<'a> {
    [
        entries,
        &[("auth", b"authRevision", &[0, 0, 0, 0, 0, 0, 0, 9])],
    ]
    .concat()
}

fn revision(main: i64, sub: i64, mark: &str) -> Vec<u8> {
    [
        &main.to_be_bytes()[..],
        b"_",
        &sub.to_be_bytes(),
        mark.as_bytes(),
    ]
    .concat()
}

/// Returns a record of the key `k` with these revisions and this version.
fn record(created: u8, modified: u8, version: u8) -> Vec<u8> {
    vec![
        0x0a, 1, b'k', 0x10, created, 0x18, modified, 0x20, version, 0x2a, 1, b'v',
    ]
}

const DELETED: &[u8] = &[0x0a, 1, b'k'];
const ROOT: &[u8] = b"\x0a\x04root\x1a\x04root\x22\x02\x08\x01";

#[test]
fn contents_are_counted() {
    let (contents, faults) = read(&with(&[
        ("auth", b"authEnabled", &[1]),
        ("authRoles", b"root", b"\x0a\x04root"),
        ("authUsers", b"root", ROOT),
        ("alarm", b"\x08\x05\x10\x01", b""),
        ("cluster", b"clusterVersion", b"3.6.0"),
        ("key", &revision(2, 0, ""), &record(2, 2, 1)),
        ("key", &revision(3, 0, ""), &record(2, 3, 2)),
        ("key", &revision(4, 0, "t"), DELETED),
        ("key", &revision(4, 1, ""), &record(4, 4, 1)),
        ("lease", &9_i64.to_be_bytes(), &[0x08, 9, 0x10, 60]),
        (
            "members",
            b"8e9e05c52164694d",
            br#"{"id":10276657743932975437,"peerURLs":["http://a_b:2380"],"name":"a"}"#,
        ),
        ("members_removed", b"1", b"removed"),
        ("meta", b"consistent_index", &12_u64.to_be_bytes()),
        ("meta", b"term", &3_u64.to_be_bytes()),
        ("meta", b"scheduledCompactRev", &revision(3, 0, "")),
        ("meta", b"finishedCompactRev", &revision(2, 0, "")),
        ("meta", b"storageVersion", b"3.6.0"),
    ]));
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(
        (
            contents.revision,
            contents.compacted,
            contents.compacting,
            contents.keys
        ),
        (4, 3, true, 18)
    );
    assert_eq!(
        (
            contents.index,
            contents.term,
            contents.storage_version.as_deref()
        ),
        (12, 3, Some("3.6.0"))
    );
    assert_eq!(
        (
            contents.auth_enabled,
            contents.leases,
            contents.members[0].name.as_str()
        ),
        (true, 1, "a")
    );
    assert_eq!((contents.users, contents.roles, contents.alarms), (1, 1, 1));
}

#[test]
fn a_member_starts_at_the_compacted_revision_or_above() {
    for (compacted, stands) in [(9, 9), (4, 5)] {
        let (five, record, compacted) = (
            revision(5, 0, ""),
            record(5, 5, 1),
            revision(compacted, 0, ""),
        );
        let entries = [
            ("key", &five[..], &record[..]),
            ("meta", b"scheduledCompactRev", &compacted),
            ("meta", b"finishedCompactRev", &compacted),
        ];
        let (contents, faults) = read(&with(&entries));
        assert_eq!((contents.revision, faults), (stands, vec![]));
    }
}

/// The database is in the state in which `etcdutl snapshot restore --bump-revision
/// --mark-compacted` leaves it.
#[test]
fn a_raised_revision_is_empty_and_compacted() {
    let (bumped, record) = (revision(1_000_000_005, 0, ""), record(2, 2, 1));
    let entries = [
        ("key", &revision(2, 0, "")[..], &record[..]),
        ("key", &bumped, b""),
    ];
    let (contents, faults) = read(&with(
        &[&entries[..], &[("meta", b"scheduledCompactRev", &bumped)]].concat(),
    ));
    assert_eq!((contents.revision, faults), (1_000_000_005, vec![]));
    let (_, faults) = read(&with(&entries));
    assert!(
        faults.len() == 2 && faults[1].contains("found nothing"),
        "{faults:?}"
    );
}

/// Returns the text of the first fault that is found in a database with this entry.
fn fault_of(bucket: &str, key: &[u8], value: &[u8]) -> String {
    let (_, faults) = read(&with(&[(bucket, key, value)]));
    faults.first().cloned().unwrap_or_default()
}

fn assert_faults(cases: &[(&str, &[u8], &[u8], &str)]) {
    for (bucket, key, value, why) in cases {
        let found = fault_of(bucket, key, value);
        assert!(found.contains(why), "{bucket} {value:?}: {found}");
    }
}

#[test]
fn a_fault_of_a_key_names_its_location_and_not_its_content() {
    let two = revision(2, 0, "");
    assert_eq!(
        fault_of("key", b"secret", b""),
        "page 7, byte 28700: expected a revision of 17 bytes, or of 18 bytes for a deletion (bucket \
         `key`), found a key of 6 bytes with 0 bytes of value"
    );
    assert_faults(&[
        ("key", &two, b"secret", "a key with its value"),
        (
            "key",
            &two,
            &record(2, 3, 1),
            "a mod_revision that equals the revision in the entry's key",
        ),
        (
            "key",
            &two,
            &record(3, 2, 1),
            "a create_revision of at least 1",
        ),
        ("key", &two, &record(2, 2, 2), "a version not above"),
        (
            "key",
            &revision(2, 0, "t"),
            &record(2, 2, 1),
            "only the key, because",
        ),
        ("key", &revision(3, 0, ""), &record(3, 3, 1), "revision 2.0"),
    ]);
}

#[test]
fn a_fault_of_a_member_lease_or_metadata_names_its_location() {
    assert_faults(&[
        (
            "lease",
            &[0; 8],
            &[0x08, 9, 0x10, 60],
            "a lease with the ID",
        ),
        ("alarm", b"\x10\x01", b"x", "an empty value for the alarm"),
        (
            "members",
            b"ff",
            br#"{"id":1,"peerURLs":["http://a:1"]}"#,
            "the ID that its key contains",
        ),
        ("members", b"1", b"{", "a member in JSON"),
        ("members_removed", b"1", b"", "the word `removed`"),
        (
            "meta",
            b"term",
            b"1",
            "a number of 8 bytes that is at least 1",
        ),
        ("meta", b"finishedCompactRev", b"1", "17 bytes"),
        (
            "meta",
            b"scheduledCompactRev",
            &revision(9, 0, ""),
            "a compaction in progress up to an existing revision",
        ),
        ("meta", b"surprise", b"1", "a key that etcd 3.4 to 3.7 uses"),
        (
            "meta",
            b"term",
            &[1; 8],
            "`consistent_index`, because there is a `term`",
        ),
    ]);
}

#[test]
fn a_fault_of_a_version_or_of_auth_names_its_location() {
    assert_faults(&[
        ("cluster", b"clusterVersion", b"3x", "3.MINOR.0"),
        (
            "cluster",
            b"clusterVersion",
            b"3.6.0",
            "`storageVersion` to equal `clusterVersion`",
        ),
        ("auth", b"authEnabled", &[3], "`authEnabled` as one byte"),
        ("auth", b"authEnabled", &[1], "the user `root`"),
        ("authUsers", b"joe", b"\x0a\x03jof", "name equals its key"),
        ("authRoles", b"joe", b"\x0a\x03jof", "name equals its key"),
        (
            "auti",
            b"authEnabled",
            &[1],
            "a bucket that etcd 3.4 to 3.7 uses",
        ),
    ]);
}

/// Every bucket except `cluster` must exist, and the bucket `auth` must contain `authRevision`.
#[test]
fn the_database_of_another_program_is_refused() {
    let mut progress = |_| ();
    let mut faults = Faults::default();
    Reader::new(&mut progress).finish(&mut faults);
    let faults: Vec<String> = faults.first().iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), BUCKETS.len(), "{faults:?}");
    assert_eq!(
        faults[1],
        "byte 0: expected etcd's bucket `auth`, found no such bucket"
    );
    assert!(
        !faults.iter().any(|fault| fault.contains("`cluster`")),
        "a restore by etcd 3.5 omits the bucket: {faults:?}"
    );
}

/// The expected results come from real starts of etcd 3.4.23, 3.4.45, 3.5.1, 3.5.35, 3.6.16 and
/// 3.7.3. Each version was started with the data of every other version.
#[test]
fn an_etcd_that_does_not_start_from_the_data_is_reported() {
    let wrote = |storage: u64, cluster: u64| DatabaseContents {
        storage_version: (storage > 0).then(|| format!("3.{storage}.0")),
        cluster_version: (cluster > 0).then(|| format!("3.{cluster}.0")),
        ..DatabaseContents::default()
    };
    for (contents, starts, does_not) in [
        (
            wrote(0, 0),
            &["3.4.23", "3.4.45", "3.5.1", "3.6.16", "3.7.3"][..],
            &[][..],
        ),
        (
            wrote(0, 5),
            &["3.4.23", "3.4.45", "3.5.1", "3.6.16", "3.7.3"],
            &[],
        ),
        (
            wrote(6, 6),
            &["3.4.23", "3.5.1", "3.5.35", "3.6.16", "3.7.3"],
            &["3.4.31", "3.4.45"],
        ),
        (
            wrote(7, 7),
            &["3.4.23", "3.5.1", "3.5.35", "3.7.3"],
            &["3.4.45", "3.6.16"],
        ),
        (wrote(6, 7), &["3.5.35", "3.7.3"], &["3.6.16"]),
        (wrote(7, 6), &["3.7.3"], &["3.6.16"]),
    ] {
        let obstacle = |etcd: &str| contents.version_obstacle(etcd.parse().unwrap());
        for etcd in starts {
            assert_eq!(obstacle(etcd), None, "{etcd} {contents:?}");
        }
        for etcd in does_not {
            assert!(
                obstacle(etcd).unwrap().contains(etcd),
                "{etcd} {contents:?}"
            );
        }
    }
    let downgrade = |target: &str| DatabaseContents {
        downgrade: Some(target.into()),
        ..wrote(6, 6)
    };
    let obstacle = |target, etcd: &str| downgrade(target).version_obstacle(etcd.parse().unwrap());
    assert!(
        obstacle("3.6.0", "3.5.35")
            .unwrap()
            .contains("downgraded to etcd 3.6")
    );
    for (target, etcd) in [("3.5.0", "3.5.35"), ("3.6.0", "3.6.16"), ("3.6.0", "3.7.3")] {
        assert_eq!(obstacle(target, etcd), None, "{target} {etcd}");
    }
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic_in_the_readers(
        bucket in 0..BUCKETS.len(), key in proptest::collection::vec(any::<u8>(), 0..30),
        value in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = (Record::parse(&value), Revision::parse(&key));
        let bucket = std::str::from_utf8(BUCKETS[bucket]).unwrap();
        let _ = read(&[(bucket, &key, &value)]);
    }

    #[test]
    fn a_revision_is_read_as_it_was_written(main in 0..=i64::MAX, sub in 0..=i64::MAX, deletion: bool) {
        let bytes = revision(main, sub, if deletion { "t" } else { "" });
        prop_assert_eq!(Revision::parse(&bytes), Some(Revision { main, sub, deletion }));
    }
}
