//! Tests with files as bbolt writes them.

use bolt::FileKind;

use crate::writer::{NONE, PAGE, Writer, bucket, inline, meta, pair};
use crate::{Visited, faults, look, sample};

#[test]
fn every_key_of_every_bucket_is_shown_in_order() {
    for freelist in [false, true] {
        let (_, bytes, _) = sample(freelist);
        let (report, seen) = look(&bytes, FileKind::Snapshot);
        assert_eq!(report.faults.first(), []);
        assert!(report.complete);
        assert_eq!(
            seen,
            [
                "tree/a1=one",
                "tree/a2=two",
                "tree/b1=3000 bytes",
                "tree/b2/in=side"
            ]
        );
        let meta = report.meta.unwrap();
        assert_eq!(
            (meta.pages, meta.txid, meta.freelist.is_some()),
            (bytes.len() as u64 / PAGE as u64, 7, freelist)
        );
        assert_eq!(
            report.used,
            meta.pages - 1,
            "all pages except one are in use"
        );
    }
}

#[test]
fn an_empty_database_has_no_faults() {
    let mut writer = Writer::new();
    let root = writer.leaf(&[]);
    assert_eq!(faults(&writer.finish(root, NONE)), Vec::<String>::new());
}

#[test]
fn a_freelist_may_be_longer_than_its_header_can_count() {
    let mut writer = Writer::new();
    let free: Vec<u64> = (0..0x1_0000).map(|_| writer.unused()).collect();
    let root = writer.leaf(&[]);
    let freelist = writer.freelist(&free);
    let (report, _) = look(&writer.finish(root, freelist), FileKind::Snapshot);
    assert_eq!(report.faults.first(), []);
    assert!(report.meta.unwrap().freelist.is_some());
}

#[test]
fn a_live_file_may_be_longer_and_have_a_torn_meta_page() {
    let (_, mut bytes, _) = sample(false);
    bytes.resize(bytes.len() + 5 * PAGE, 0);
    assert!(
        !faults(&bytes).is_empty(),
        "a snapshot ends with its last page"
    );
    let odd = [&bytes[..], b"x"].concat();
    assert_eq!(
        look(&odd, FileKind::Live).0.faults.count(),
        1,
        "the length of a live file must be a whole number of pages"
    );
    // Page 1 is the older meta page, which is current if the newer meta page is torn. In this file,
    // both meta pages lead to the same content.
    for page in [1, 0] {
        let mut torn = bytes.clone();
        torn[page * PAGE + 60] ^= 1;
        let (report, seen) = look(&torn, FileKind::Live);
        assert_eq!(report.faults.first(), []);
        assert_eq!(
            (report.meta.unwrap().txid, seen.len()),
            (if page == 0 { 6 } else { 7 }, 4)
        );
        assert!(
            !faults(&torn[..torn.len() - 5 * PAGE]).is_empty(),
            "a snapshot must not have a damaged meta page"
        );
    }
}

#[test]
fn buckets_may_be_nested() {
    let mut writer = Writer::new();
    let mut inner = writer.leaf(&[pair("key", "value")]);
    for name in ["c", "b", "a"] {
        inner = writer.leaf(&[bucket(name, inner)]);
    }
    let (report, seen) = look(&writer.finish(inner, NONE), FileKind::Snapshot);
    assert_eq!(report.faults.first(), []);
    assert_eq!(seen, ["a/b/c/key=value"]);
}

#[test]
fn a_value_is_found_by_its_bucket_and_its_key() {
    let (_, bytes, _) = sample(true);
    let get = |bucket: &str, key: &str| {
        bolt::get(
            &bytes[..],
            bytes.len() as u64,
            bucket.as_bytes(),
            key.as_bytes(),
        )
    };
    for (key, value) in [
        ("a1", &b"one"[..]),
        ("a2", b"two"),
        ("b1", "x".repeat(3000).as_bytes()),
    ] {
        assert_eq!(get("tree", key).unwrap().as_deref(), Some(value), "{key}");
    }
    for (bucket, key) in [
        ("tree", "a3"),
        ("tree", "0"),
        ("tree", "z"),
        ("tree", "b2"),
        ("empty", "a1"),
        ("none", "a1"),
    ] {
        assert_eq!(get(bucket, key).unwrap(), None, "{bucket}/{key}");
    }
    assert!(bolt::get(&[0; 5000][..], 5000, b"tree", b"a1").is_err());
}

#[test]
fn leaf_data_contains_all_keys_and_values_in_order() {
    let mut writer = Writer::new();
    let first = writer.leaf(&[pair("a1", "one"), pair("a2", "")]);
    let second = writer.leaf(&[pair("b", &"x".repeat(3000))]);
    let branch = writer.branch(&[(b"a1", first), (b"b", second)]);
    let root = writer.leaf(&[
        bucket("big", branch),
        inline("empty", &[]),
        inline("small", &[pair("in", "side")]),
    ]);
    let bytes = writer.finish(root, NONE);
    let mut seen = Visited::default();
    bolt::check(
        &bytes[..],
        bytes.len() as u64,
        FileKind::Snapshot,
        &mut seen,
    )
    .unwrap();
    assert_eq!(
        seen.data,
        [b"a1onea2b", &[b'x'; 3000][..], b"inside"].concat()
    );
    assert_eq!(seen.data, seen.entries);
}

#[test]
fn the_meta_pages_of_a_live_file_are_from_adjacent_transactions() {
    let (_, bytes, places) = sample(false);
    let pages = (bytes.len() / PAGE) as u64;
    // If a file was streamed and then used as a database, bbolt may have replaced the newer meta
    // page first, so the transaction ids may differ by two.
    for (txid, pages, good) in [
        (6, pages, true),
        (8, pages, true),
        (5, pages, true),
        (5, pages - 1, true),
        (9, pages, true),
        (7, pages, false),
        (4, pages, false),
        (10, pages, false),
        (6, pages + 1, false),
    ] {
        let mut live = bytes.clone();
        let page = meta(1, places.root, NONE, pages, txid);
        live[PAGE..PAGE + page.len()].copy_from_slice(&page);
        let faults = look(&live, FileKind::Live).0.faults;
        let found = faults
            .first()
            .iter()
            .any(|fault| fault.to_string().contains("one or two transactions"));
        assert_eq!(!found, good, "{txid} {pages}: {:?}", faults.first());
    }
}

#[test]
fn the_meta_pages_state_the_length_of_the_database() {
    let (_, bytes, _) = sample(true);
    assert_eq!(bolt::stated_length(&bytes), Some(bytes.len() as u64));
    let mut torn = bytes.clone();
    torn[60] ^= 1;
    assert_eq!(bolt::stated_length(&torn), Some(bytes.len() as u64));
    torn[PAGE + 60] ^= 1;
    assert_eq!(bolt::stated_length(&torn), None);
    assert_eq!(bolt::stated_length(&vec![0; bolt::META_PAGES]), None);
    assert_eq!(bolt::stated_length(&[]), None);
}
