//! Damaged snapshots: whatever etcdutl finds, firstboot finds.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::etcd;
use tests::harness::trial;

use crate::fixtures::{ours, snapshot, theirs};
use crate::image::{Image, PAGE, Used};
use crate::random::Random;

/// Flips of each region.
const FLIPS: usize = 8;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "firstboot_finds_all_damage_that_etcdutl_finds",
        &[etcd::need("3.5.1")],
        corpus,
    )]
}

/// One damaged file: what was done to it, and its bytes.
struct Case {
    kind: &'static str,
    what: String,
    bytes: Vec<u8>,
}

fn corpus() -> Result<()> {
    let good = snapshot("3.5.1")?;
    let bytes = fs::read(&good)?;
    let image = Image(bytes[..bytes.len() - 32].to_vec());
    ensure!(
        image.sealed() == bytes,
        "the snapshot's digest is not the one the test makes"
    );
    let path = good.with_file_name("damaged.db");
    let mut tally: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for case in cases(&image) {
        fs::write(&path, &case.bytes)?;
        let (code, answer) = ours(&path, &[]).with_context(|| case.what.clone())?;
        let found = code == 3;
        let theirs = theirs("3.5.1", &path)?.is_none();
        ensure!(
            found || !theirs,
            "{}: etcdutl finds it, firstboot does not: {answer:#}",
            case.what
        );
        let [all, our_count, their_count] = tally.entry(case.kind).or_default();
        *all += 1;
        *our_count += usize::from(found);
        *their_count += usize::from(theirs);
    }
    println!(
        "{:<45} {:>5} {:>9} {:>7}",
        "damage (the digest made again)", "files", "firstboot", "etcdutl"
    );
    for (kind, [all, ours, theirs]) in &tally {
        println!("{kind:<45} {all:>5} {ours:>9} {theirs:>7}");
    }
    // What nothing can find without a checksum over it: bytes that are free to be anything.
    let blind = [
        "a byte of a value",
        "a byte of a key",
        "a byte of a page in use that nothing is in",
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

/// A byte changed in each kind of place.
fn flips(image: &Image, cases: &mut Vec<Case>) {
    let used = image.used();
    let (leaves, branches): (Vec<Used>, Vec<Used>) = used.iter().partition(|page| page.leaf);
    let mut random = Random(1);
    let mut flip = |kind: &'static str, range: &dyn Fn(&mut Random) -> std::ops::Range<usize>| {
        for _ in 0..FLIPS {
            let range = range(&mut random);
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
    flip("a byte of a page in use that nothing is in", &|random| {
        let page = random.of(&leaves);
        let end = page.at() + (page.overflow + 1) * PAGE;
        end - 1..end
    });
    let taken = |id: usize| {
        id < 2
            || used
                .iter()
                .any(|page| (page.id..=page.id + page.overflow).contains(&id))
    };
    let free: Vec<usize> = (0..image.0.len() / PAGE).filter(|id| !taken(*id)).collect();
    assert!(!free.is_empty(), "the test's database has no free page");
    flip("a byte of a free page", &|random| {
        let at = *random.of(&free) * PAGE;
        at..at + PAGE
    });
}

fn header(page: &Used) -> std::ops::Range<usize> {
    page.at()..page.at() + 16
}

/// All but the last element's lengths.
fn table(page: &Used) -> std::ops::Range<usize> {
    page.at() + 16..page.data() - if page.leaf { 8 } else { 16 }
}

/// Cut short, and made longer.
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
            kind: "cut short",
            what: format!("cut to {length} bytes"),
            bytes: sealed[..length].to_vec(),
        });
    }
    for kept in [pages - 1, pages - 2, pages / 2, 5] {
        let cut = Image(image.0[..kept * PAGE].to_vec());
        cases.push(Case {
            kind: "cut short, then sealed",
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
        kind: "pages after the end, then sealed",
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

/// Pages in the wrong place, and pointers to the wrong page.
fn pointers(image: &Image, cases: &mut Vec<Case>) {
    let used = image.used();
    let single: Vec<Used> = used
        .iter()
        .copied()
        .filter(|page| page.leaf && page.overflow == 0 && page.count > 1)
        .collect();
    let branch = used
        .iter()
        .find(|page| !page.leaf && page.count > 4)
        .expect("a tree of two levels");
    let child = |n: usize| branch.at() + 16 + 16 * n + 8;
    let mut add = |kind: &'static str, what: String, harm: &dyn Fn(&mut Image)| {
        let mut harmed = image.clone();
        harm(&mut harmed);
        cases.push(Case {
            kind,
            what,
            bytes: harmed.sealed(),
        });
    };
    for pair in single.chunks_exact(2).take(4) {
        let [a, b] = [pair[0], pair[1]];
        let swap = |image: &mut Image, skip: usize| {
            let (first, second) = (
                image.0[a.at() + skip..a.at() + PAGE].to_vec(),
                image.0[b.at() + skip..b.at() + PAGE].to_vec(),
            );
            image.0[a.at() + skip..a.at() + PAGE].copy_from_slice(&second);
            image.0[b.at() + skip..b.at() + PAGE].copy_from_slice(&first);
        };
        add(
            "two pages swapped",
            format!("{} and {}", a.id, b.id),
            &|image| swap(image, 0),
        );
        add(
            "two pages' contents swapped",
            format!("{} and {}", a.id, b.id),
            &|image| swap(image, 8),
        );
        add(
            "a page with another's id",
            format!("{} says {}", a.id, b.id),
            &|image| image.set_long(a.at(), b.id),
        );
        add(
            "a page twice, the second in another's place",
            format!("{} over {}", a.id, b.id),
            &|image| {
                let copy = image.0[a.at() + 8..a.at() + PAGE].to_vec();
                image.0[b.at() + 8..b.at() + PAGE].copy_from_slice(&copy);
            },
        );
        add("a page of zeros", a.id.to_string(), &|image| {
            image.0[a.at()..a.at() + PAGE].fill(0);
        });
    }
    add(
        "a page that two point to",
        "children 1 and 2".into(),
        &|image| image.set_long(child(1), image.long(child(2))),
    );
    add(
        "a branch that points to itself",
        branch.id.to_string(),
        &|image| image.set_long(child(1), branch.id),
    );
    for to in [0, 1, image.0.len() / PAGE, usize::MAX >> 1] {
        add("a pointer out of range", to.to_string(), &|image| {
            image.set_long(child(1), to);
        });
    }
    let (root, freelist, pages) = (16, 32, 40);
    for to in [0, 1, branch.id, image.0.len() / PAGE] {
        add("the root elsewhere", to.to_string(), &|image| {
            image.set_meta(root, to);
        });
    }
    for to in [0, branch.id, single[0].id, image.0.len() / PAGE] {
        add("a freelist where there is none", to.to_string(), &|image| {
            image.set_meta(freelist, to);
        });
    }
    for to in [
        2,
        image.0.len() / PAGE - 1,
        image.0.len() / PAGE + 1,
        1 << 40,
    ] {
        add("another high-water mark", to.to_string(), &|image| {
            image.set_meta(pages, to);
        });
    }
    // The list itself, in a page that is free: all others that are free, and something besides.
    let taken = |id: usize| {
        id < 2
            || used
                .iter()
                .any(|page| (page.id..=page.id + page.overflow).contains(&id))
    };
    let free: Vec<usize> = (0..image.0.len() / PAGE).filter(|id| !taken(*id)).collect();
    let (home, rest) = free.split_first().expect("a free page");
    let list = |image: &mut Image, ids: &[usize]| {
        let at = home * PAGE;
        image.0[at..at + PAGE].fill(0);
        image.set_long(at, *home);
        image.0[at + 8] = 16;
        image.0[at + 10..at + 12]
            .copy_from_slice(&u16::try_from(ids.len()).unwrap_or(u16::MAX).to_le_bytes());
        for (n, id) in ids.iter().enumerate() {
            image.set_long(at + 16 + 8 * n, *id);
        }
        image.set_meta(freelist, *home);
    };
    add(
        "a freelist with a page in use",
        single[0].id.to_string(),
        &|image| {
            list(image, &[rest, &[single[0].id]].concat());
        },
    );
    add(
        "a freelist with a page missing",
        "the last".into(),
        &|image| list(image, &rest[..rest.len() - 1]),
    );
    add(
        "a freelist with a page twice",
        "the last".into(),
        &|image| {
            list(image, &[rest, &rest[rest.len() - 1..]].concat());
        },
    );
    add(
        "a freelist with a page out of range",
        "the next".into(),
        &|image| {
            list(image, &[rest, &[image.0.len() / PAGE]].concat());
        },
    );
}

/// Pages that bbolt finds nothing wrong with, and etcd would.
fn contents(image: &Image, cases: &mut Vec<Case>) {
    let used = image.used();
    // The bucket `key` is the largest; its leaves hold revisions.
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
        // mvccpb.KeyValue begins with the tag and length of its key.
        add("the tag of a record's field", page.data() + 17, 0x40);
        add("the length of a record's key", page.data() + 18, 0x01);
    }
}
