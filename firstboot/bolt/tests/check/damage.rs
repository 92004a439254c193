//! Tests with files that bbolt would not write.

use bolt::FileKind;

use crate::writer::{NONE, PAGE, Writer, bucket, meta, pair};
use crate::{Places, faults, look, sample};

/// Checks the sample after `harm` has changed it. At least one of the faults must contain `words`.
fn found(words: &str, harm: impl FnOnce(&mut Vec<u8>, Places)) {
    let (_, mut bytes, places) = sample(true);
    harm(&mut bytes, places);
    let faults = faults(&bytes);
    assert!(
        faults.iter().any(|fault| fault.contains(words)),
        "{words:?} is not in {faults:#?}"
    );
}

fn at(page: u64) -> usize {
    usize::try_from(page).unwrap() * PAGE
}

/// Rewrites both meta pages with these fields.
fn metas(bytes: &mut [u8], root: u64, freelist: u64, pages: u64) {
    for (id, txid) in [(0, 7), (1, 6)] {
        let page = meta(id, root, freelist, pages, txid);
        bytes[at(id)..at(id) + page.len()].copy_from_slice(&page);
    }
}

#[test]
fn a_page_with_a_wrong_id_or_kind_is_reported() {
    found(
        "page 3, byte 3072: expected the page's id, 3, found 4",
        |bytes, places| bytes[at(places.first)] = 4,
    );
    found(
        "expected a branch or leaf page, found a freelist page",
        |bytes, places| bytes[at(places.first) + 8] = 16,
    );
    found("found a page of unknown kind 0x0003", |bytes, places| {
        bytes[at(places.first) + 8] = 3;
    });
    found("expected an inline leaf page", |bytes, places| {
        let name = bytes.windows(5).position(|five| five == b"empty").unwrap();
        assert!(name > at(places.root));
        bytes[name + 5 + 16 + 8] = 1;
    });
}

#[test]
fn a_page_longer_or_shorter_than_its_elements_is_reported() {
    found("an overflow of 3 pages", |bytes, places| {
        bytes[at(places.long) + 12] = 2;
    });
    found("an overflow of 0 pages", |bytes, places| {
        bytes[at(places.first) + 12] = 1;
    });
    found("an overflow of at most", |bytes, places| {
        bytes[at(places.first) + 15] = 1;
    });
    found("at most 63 elements", |bytes, places| {
        bytes[at(places.first) + 11] = 9;
    });
}

#[test]
fn an_element_with_a_wrong_position_or_flag_is_reported() {
    found("expected element 1's key at byte", |bytes, places| {
        bytes[at(places.first) + 16 + 12] += 1;
    });
    found(
        "expected element 0's flags to be 0 or 1",
        |bytes, places| {
            bytes[at(places.first) + 16] = 2;
        },
    );
    found("only buckets at the top level", |bytes, places| {
        bytes[at(places.root) + 16] = 0;
    });
    found(
        "expected element 0's key not to be empty",
        |bytes, places| {
            let element = at(places.first) + 16;
            bytes[element + 12] += bytes[element + 8];
            bytes[element + 8] = 0;
        },
    );
}

#[test]
fn a_key_out_of_order_or_out_of_range_is_reported() {
    let leaf = |harm: fn(&mut [u8], usize)| {
        move |bytes: &mut Vec<u8>, places: Places| harm(bytes, at(places.first) + 16 + 2 * 16)
    };
    found(
        "expected element 1's key above 7a31, found 6132",
        leaf(|bytes, data| bytes[data] = b'z'),
    );
    found(
        "expected only keys below 6231",
        leaf(|bytes, data| bytes[data + 5] = b'c'),
    );
    found(
        "expected no key below 6131",
        leaf(|bytes, data| bytes[data] = b'A'),
    );
    found("expected element 1's key above 6331", |bytes, places| {
        bytes[at(places.branch) + 16 + 2 * 16] = b'c';
    });
}

#[test]
fn a_page_with_two_pointers_and_a_cyclic_tree_are_reported() {
    let child = |places: Places, index: usize| at(places.branch) + 16 + index * 16 + 8;
    found("found another pointer to page 3", |bytes, places| {
        bytes[child(places, 1)] = 3;
    });
    found("found another pointer to page 8", |bytes, places| {
        assert_eq!(places.branch, 8);
        bytes[child(places, 1)] = 8;
    });
    found("a page from 2 to 10, found 200", |bytes, places| {
        bytes[child(places, 0)] = 200;
    });
    found(
        "expected element 0's page to be 2 or more, found 1",
        |bytes, places| bytes[child(places, 0)] = 1,
    );
    // The overflow of the long page does not have a header, so a pointer to the overflow does not
    // lead to a valid page.
    found("expected the page's id, 5", |bytes, places| {
        bytes[child(places, 0)] = 5;
    });
}

#[test]
fn a_tree_that_is_too_deep_is_reported() {
    let mut writer = Writer::new();
    let mut page = writer.leaf(&[pair("a", "")]);
    for _ in 0..100 {
        page = writer.branch(&[(b"a", page)]);
    }
    let root = writer.leaf(&[bucket("deep", page)]);
    let faults = faults(&writer.finish(root, NONE));
    assert!(faults[0].contains("at most 64 levels"), "{faults:?}");
}

#[test]
fn a_damaged_freelist_is_reported() {
    let list = |places: Places| at(places.freelist);
    found(
        "a page that is not free, found page 3, in the freelist",
        |bytes, places| bytes[list(places) + 16] = 3,
    );
    found(
        "page 2, byte 2048: expected the page to be reachable or in the freelist, found neither",
        |bytes, places| {
            bytes[list(places) + 10] = 0;
        },
    );
    found(
        "a free page above 2, the previous free page, found 2",
        |bytes, places| {
            bytes[list(places) + 10] = 2;
            bytes[list(places) + 24] = 2;
        },
    );
    found(
        "a free page outside the freelist itself",
        |bytes, places| bytes[list(places) + 16] = 10,
    );
    found("a free page from 2 to 10, found 99", |bytes, places| {
        bytes[list(places) + 16] = 99;
    });
    found("at most 126 free pages", |bytes, places| {
        bytes[list(places) + 10] = 127;
    });
    found("at most 125 free pages", |bytes, places| {
        bytes[list(places) + 10..list(places) + 12].fill(0xFF);
        bytes[list(places) + 17] = 9;
    });
    found(
        "expected a freelist page, found a leaf page",
        |bytes, places| metas(bytes, places.root, places.first, 11),
    );
    found(
        "the freelist on a page from 2 to 10, found 99",
        |bytes, places| metas(bytes, places.root, 99, 11),
    );
}

#[test]
fn a_damaged_meta_page_is_reported() {
    found("expected the checksum", |bytes, _| {
        bytes[at(1) + 16 + 20] ^= 1;
    });
    found("expected bbolt's magic number ed0cdaed", |bytes, _| {
        bytes[16] = 0;
    });
    found("expected format version 2, found 3", |bytes, _| {
        bytes[20] = 3;
    });
    found(
        "page 1, byte 1024: expected the page's id, 1, found 0",
        |bytes, _| bytes[at(1)] = 0,
    );
    found("expected a meta page, found a leaf page", |bytes, _| {
        bytes[8] = 2;
    });
    found(
        "the first meta page's fields with the previous transaction's id",
        |bytes, places| {
            let page = meta(1, places.root, NONE, 11, 6);
            bytes[at(1)..at(1) + page.len()].copy_from_slice(&page);
        },
    );
    found("a page from 2 to 10, found 99", |bytes, places| {
        metas(bytes, 99, places.freelist, 11);
    });
}

#[test]
fn a_file_of_the_wrong_length_is_reported() {
    found(
        "expected 11 pages of 1024 bytes, as the meta page states, found 10240 bytes",
        |bytes, _| {
            bytes.truncate(10 * PAGE);
        },
    );
    found("found 11265 bytes", |bytes, _| bytes.push(0));
    found("expected 200 pages", |bytes, places| {
        metas(bytes, places.root, places.freelist, 200);
    });
    found("expected 9 pages", |bytes, places| {
        metas(bytes, places.root, places.freelist, 9);
    });
    found("two meta pages", |bytes, _| bytes.truncate(50));
    found("two meta pages", |bytes, _| bytes.truncate(0));
}

#[test]
fn the_first_faults_are_kept_and_all_are_counted() {
    let mut writer = Writer::new();
    for _ in 0..300 {
        writer.unused();
        writer.leaf(&[]);
    }
    let root = writer.leaf(&[]);
    let freelist = writer.freelist(&(0..300).map(|n| 3 + 2 * n).collect::<Vec<_>>());
    let (report, _) = look(&writer.finish(root, freelist), FileKind::Snapshot);
    assert_eq!(
        (report.faults.count(), report.faults.first().len()),
        (300, bolt::Faults::KEPT)
    );
}

#[test]
fn a_change_of_any_significant_byte_is_detected() {
    for freelist in [false, true] {
        let (writer, bytes, _) = sample(freelist);
        let mut looked = 0;
        for at in writer.structure.iter().cloned().flatten() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut harmed = bytes.clone();
                harmed[at] ^= flip;
                assert!(
                    !faults(&harmed).is_empty(),
                    "byte {at} of page {} ^ {flip:#x} is not detected",
                    at / PAGE
                );
                looked += 1;
            }
        }
        assert!(looked > 1000, "{looked}");
    }
}
