//! Moves pages to the wrong position, and changes pointers so that they point to the wrong page.

use super::case::{Case, free_pages};
use crate::image::{Image, PAGE, Used};

/// The offset of the meta page's field that names the freelist.
const FREELIST: usize = 32;

pub(super) fn pointers(image: &Image, cases: &mut Vec<Case>) {
    let used = image.used();
    let single: Vec<Used> = used
        .iter()
        .copied()
        .filter(|page| page.leaf && page.overflow == 0 && page.count > 1)
        .collect();
    let branch = used
        .iter()
        .find(|page| !page.leaf && page.count > 4)
        .expect("the tree has two levels");
    swapped_pages(image, &single, cases);
    branch_pointers(image, branch, cases);
    meta_pointers(image, branch, single[0], cases);
    freelists(image, single[0], cases);
}

/// A function that damages an image.
type Harm<'a> = &'a dyn Fn(&mut Image);

/// Returns a function that adds a case. The arguments of that function are the kind, a description
/// of the damage, and the function that does the damage.
fn adder<'a>(
    image: &'a Image,
    cases: &'a mut Vec<Case>,
) -> impl FnMut(&'static str, String, Harm<'_>) + 'a {
    |kind, what, harm| {
        let mut harmed = image.clone();
        harm(&mut harmed);
        cases.push(Case {
            kind,
            what,
            bytes: harmed.sealed(),
        });
    }
}

fn swapped_pages(image: &Image, single: &[Used], cases: &mut Vec<Case>) {
    let mut add = adder(image, cases);
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
            "a page with another page's id",
            format!("{} has the id {}", a.id, b.id),
            &|image| image.set_long(a.at(), b.id),
        );
        add(
            "a page twice, once in another page's place",
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
}

fn branch_pointers(image: &Image, branch: &Used, cases: &mut Vec<Case>) {
    let mut add = adder(image, cases);
    let child = |n: usize| branch.at() + 16 + 16 * n + 8;
    add(
        "a page with two references",
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
}

/// Adds cases with a wrong root, freelist or high-water mark in the meta pages.
fn meta_pointers(image: &Image, branch: &Used, leaf: Used, cases: &mut Vec<Case>) {
    let mut add = adder(image, cases);
    let (root, pages) = (16, 40);
    for to in [0, 1, branch.id, image.0.len() / PAGE] {
        add("the root elsewhere", to.to_string(), &|image| {
            image.set_meta(root, to);
        });
    }
    for to in [0, branch.id, leaf.id, image.0.len() / PAGE] {
        add("an unexpected freelist", to.to_string(), &|image| {
            image.set_meta(FREELIST, to);
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
}

/// Writes a freelist with these ids to a free page, and makes the meta pages point to it.
fn write_freelist(image: &mut Image, home: usize, ids: &[usize]) {
    let at = home * PAGE;
    image.0[at..at + PAGE].fill(0);
    image.set_long(at, home);
    image.0[at + 8] = 16;
    image.0[at + 10..at + 12]
        .copy_from_slice(&u16::try_from(ids.len()).unwrap_or(u16::MAX).to_le_bytes());
    for (n, id) in ids.iter().enumerate() {
        image.set_long(at + 16 + 8 * n, *id);
    }
    image.set_meta(FREELIST, home);
}

/// Adds cases with a wrong freelist in a free page: the ids of the other free pages, with one id
/// too many or too few.
fn freelists(image: &Image, leaf: Used, cases: &mut Vec<Case>) {
    let mut add = adder(image, cases);
    let free = free_pages(image, &image.used());
    let (home, rest) = free.split_first().expect("a free page");
    let list = |image: &mut Image, ids: &[usize]| write_freelist(image, *home, ids);
    add(
        "a freelist with a page in use",
        leaf.id.to_string(),
        &|image| {
            list(image, &[rest, &[leaf.id]].concat());
        },
    );
    add(
        "a freelist that lacks a page",
        "the last".into(),
        &|image| list(image, &rest[..rest.len() - 1]),
    );
    add(
        "a freelist that has a page twice",
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
