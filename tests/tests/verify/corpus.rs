//! Tests damaged snapshots: firstboot must find all damage that etcdutl finds.

mod case;
mod pointers;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::etcd;
use tests::harness::{is_all, trial};

use self::case::{Case, free_pages};
use self::pointers::pointers;
use crate::fixtures::{ours, snapshot, theirs};
use crate::image::{Image, PAGE, Used};
use crate::random::Random;

/// The number of cases for each region, each with one flipped bit.
const FLIPS: usize = 8;
/// `make test` covers one in this many cases, and `make test-all` covers every case.
const SHARE: usize = 4;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "firstboot_finds_all_damage_that_etcdutl_finds",
        &[etcd::need("3.5.1")],
        corpus,
    )]
}

fn corpus() -> Result<()> {
    let good = snapshot("3.5.1")?;
    let bytes = fs::read(&good)?;
    let image = Image(bytes[..bytes.len() - 32].to_vec());
    ensure!(
        image.sealed() == bytes,
        "the snapshot's digest differs from the digest that the test computes"
    );
    let path = good.with_file_name("damaged.db");
    let mut tally: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let step = if is_all() { 1 } else { SHARE };
    for case in cases(&image).into_iter().step_by(step) {
        fs::write(&path, &case.bytes)?;
        let (code, answer) = ours(&path, &[]).with_context(|| case.what.clone())?;
        let found = code == 3;
        let theirs = theirs("3.5.1", &path)?.is_none();
        ensure!(
            found || !theirs,
            "{}: etcdutl finds the damage, but firstboot does not: {answer:#}",
            case.what
        );
        let [all, our_count, their_count] = tally.entry(case.kind).or_default();
        *all += 1;
        *our_count += usize::from(found);
        *their_count += usize::from(theirs);
    }
    println!(
        "{:<45} {:>5} {:>9} {:>7}",
        "damage (with a corrected digest)", "files", "firstboot", "etcdutl"
    );
    for (kind, [all, ours, theirs]) in &tally {
        println!("{kind:<45} {all:>5} {ours:>9} {theirs:>7}");
    }
    // Only a checksum could reveal this damage, because the damage affects bytes that may have any
    // value.
    let blind = [
        "a byte of a value",
        "a byte of a key",
        "an unused byte of a page in use",
        "a byte of a free page",
    ];
    for (kind, [all, ours, _]) in &tally {
        ensure!(
            blind.contains(kind) || all == ours,
            "{kind}: firstboot finds {ours} of {all}"
        );
    }
    Ok(())
}

fn cases(image: &Image) -> Vec<Case> {
    let mut cases = Vec::new();
    flips(image, &mut cases);
    lengths(image, &mut cases);
    pointers(image, &mut cases);
    contents(image, &mut cases);
    cases
}

/// Adds cases with one changed bit, for each region of the file.
fn flips(image: &Image, cases: &mut Vec<Case>) {
    let used = image.used();
    let (leaves, branches): (Vec<Used>, Vec<Used>) = used.iter().partition(|page| page.leaf);
    let mut random = Random(1);
    let mut flip = |kind, range: &dyn Fn(&mut Random) -> std::ops::Range<usize>| {
        flip_bytes(image, cases, &mut random, kind, range);
    };
    let full: Vec<Used> = leaves
        .iter()
        .copied()
        .filter(|page| page.count > 1)
        .collect();
    flip("a byte of the first meta page", &|_| 16..16 + 64);
    flip("a byte of the second meta page", &|_| {
        PAGE + 16..PAGE + 16 + 64
    });
    flip("a byte of a meta page's header", &|random| {
        let at = random.below(2) * PAGE;
        at..at + 16
    });
    flip("a byte of a branch page's header", &|random| {
        header(random.of(&branches))
    });
    flip("a byte of a leaf page's header", &|random| {
        header(random.of(&leaves))
    });
    flip("a byte of a branch page's table", &|random| {
        table(random.of(&branches))
    });
    flip("a byte of a leaf page's table", &|random| {
        table(random.of(&full))
    });
    flip("a byte of a key", &|random| {
        let page = random.of(&full);
        page.data()..page.data() + 8
    });
    flip("a byte of a value", &|random| {
        let page = random.of(&full);
        page.data() + 60..page.data() + 90
    });
    flip("an unused byte of a page in use", &|random| {
        let page = random.of(&leaves);
        let end = page.at() + (page.overflow + 1) * PAGE;
        end - 1..end
    });
    let free = free_pages(image, &used);
    assert!(!free.is_empty(), "the test's database has no free page");
    flip("a byte of a free page", &|random| {
        let at = *random.of(&free) * PAGE;
        at..at + PAGE
    });
}

/// Adds several cases with one changed bit within a range.
fn flip_bytes(
    image: &Image,
    cases: &mut Vec<Case>,
    random: &mut Random,
    kind: &'static str,
    range: &dyn Fn(&mut Random) -> std::ops::Range<usize>,
) {
    for _ in 0..FLIPS {
        let range = range(random);
        let (at, mask) = (
            range.start + random.below(range.len()),
            1 << random.below(8),
        );
        let mut harmed = image.clone();
        harmed.0[at] ^= mask;
        let what = format!(
            "{kind}: byte {} of page {} ^ {mask:#04x}",
            at % PAGE,
            at / PAGE
        );
        cases.push(Case {
            kind,
            what,
            bytes: harmed.sealed(),
        });
    }
}

fn header(page: &Used) -> std::ops::Range<usize> {
    page.at()..page.at() + 16
}

/// Returns the range of a page's table. In a leaf, the range ends before the two lengths of the
/// last element. In a branch, the range ends before the last element.
fn table(page: &Used) -> std::ops::Range<usize> {
    page.at() + 16..page.data() - if page.leaf { 8 } else { 16 }
}

/// Adds cases in which the file is truncated or extended, or its digest is changed.
fn lengths(image: &Image, cases: &mut Vec<Case>) {
    let sealed = image.sealed();
    let pages = image.0.len() / PAGE;
    for length in [
        0,
        1,
        31,
        32,
        100,
        PAGE,
        2 * PAGE,
        3 * PAGE + 32,
        sealed.len() / 2,
        sealed.len() - 33,
        sealed.len() - 1,
    ] {
        cases.push(Case {
            kind: "truncated",
            what: format!("cut to {length} bytes"),
            bytes: sealed[..length].to_vec(),
        });
    }
    for kept in [pages - 1, pages - 2, pages / 2, 5] {
        let cut = Image(image.0[..kept * PAGE].to_vec());
        cases.push(Case {
            kind: "truncated, with a corrected digest",
            what: format!("{kept} pages kept"),
            bytes: cut.sealed(),
        });
    }
    for more in [1, 32, 480, 512, PAGE, 10 * PAGE] {
        let longer = [&sealed[..], &vec![0x5A; more]].concat();
        cases.push(Case {
            kind: "bytes after the end",
            what: format!("{more} bytes more"),
            bytes: longer,
        });
    }
    let mut longer = image.clone();
    longer.0.extend([0; 3 * PAGE]);
    cases.push(Case {
        kind: "pages after the end, with a corrected digest",
        what: "3 pages more".into(),
        bytes: longer.sealed(),
    });
    for at in [sealed.len() - 1, sealed.len() - 32] {
        let mut wrong = sealed.clone();
        wrong[at] ^= 1;
        cases.push(Case {
            kind: "a byte of the digest",
            what: format!("byte {at}"),
            bytes: wrong,
        });
    }
}

/// Damages records in a way that bbolt accepts but etcd does not.
fn contents(image: &Image, cases: &mut Vec<Case>) {
    let used = image.used();
    // The bucket `key` is the largest bucket, and its leaves contain revisions.
    let is_revision = |at: usize| image.0[at..at + 4] == [0; 4] && image.0[at + 8] == b'_';
    let leaves = used
        .iter()
        .filter(|page| page.leaf && page.count > 2 && is_revision(page.data()));
    for page in leaves.take(4) {
        let mut add = |kind: &'static str, at: usize, byte: u8| {
            let mut harmed = image.clone();
            harmed.0[at] ^= byte;
            cases.push(Case {
                kind,
                what: format!("page {}", page.id),
                bytes: harmed.sealed(),
            });
        };
        add("a revision's separator", page.data() + 8, 1);
        // An mvccpb.KeyValue starts with the tag and the length of its key.
        add("the tag of a record's field", page.data() + 17, 0x40);
        add("the length of a record's key", page.data() + 18, 0x01);
    }
}
