//! Compares the files of an image with the lists that name them.

use std::collections::BTreeMap;
use std::fmt::Debug;

use recipes::Sha256;

use crate::manifest::files;
use crate::manifest::format::{FileDigest, MANIFEST, OVERLAY, OverlayEntry, SIGNATURE, SUMS};
use crate::manifest::report::Problem;

pub(super) fn against_sums(text: &[u8], found: &[FileDigest]) -> Vec<Problem> {
    let expected = match files::parse_sums(&String::from_utf8_lossy(text)) {
        Ok(expected) => expected.into_iter().collect::<BTreeMap<_, _>>(),
        Err(why) => return vec![Problem::new(SUMS, why)],
    };
    let found = found
        .iter()
        .filter(|file| file.name != SUMS)
        .map(|file| (file.name.clone(), file.sha256));
    compare(
        (SUMS, &expected),
        &found.collect(),
        "",
        |name, expected: &Sha256, found| {
            (expected != found)
                .then(|| Problem::differs(name, "its sha256 differs", expected, found))
        },
    )
}

pub(super) fn against_outputs(expected: &[FileDigest], found: &[FileDigest]) -> Vec<Problem> {
    let map = |files: &[FileDigest]| -> BTreeMap<_, _> {
        let files = files
            .iter()
            .filter(|file| ![SUMS, MANIFEST, SIGNATURE].contains(&file.name.as_str()));
        files.map(|file| (file.name.clone(), file.sha256)).collect()
    };
    compare(
        (MANIFEST, &map(expected)),
        &map(found),
        "",
        |name, expected: &Sha256, found| {
            (expected != found)
                .then(|| Problem::differs(name, "its sha256 differs", expected, found))
        },
    )
}

pub(super) fn against_overlay(expected: &[OverlayEntry], found: &[OverlayEntry]) -> Vec<Problem> {
    let map = |entries: &[OverlayEntry]| -> BTreeMap<_, _> {
        entries
            .iter()
            .map(|entry| (entry.path.clone(), entry.clone()))
            .collect()
    };
    let prefix = format!("{OVERLAY}: ");
    compare(
        (MANIFEST, &map(expected)),
        &map(found),
        &prefix,
        |name, expected: &OverlayEntry, found| {
            let differs = |what: &str, expected: &dyn Debug, found: &dyn Debug| {
                Some(Problem::differs(
                    name,
                    what,
                    &format!("{expected:?}"),
                    &format!("{found:?}"),
                ))
            };
            if expected.sha256 != found.sha256 {
                let text = |digest: &Option<Sha256>| {
                    digest.map_or("none".to_owned(), |digest| digest.to_string())
                };
                return Some(Problem::differs(
                    name,
                    "its sha256 differs",
                    &text(&expected.sha256),
                    &text(&found.sha256),
                ));
            }
            if expected.mode != found.mode {
                return Some(Problem::differs(
                    name,
                    "its mode differs",
                    &expected.mode,
                    &found.mode,
                ));
            }
            if (expected.uid, expected.gid) != (found.uid, found.gid) {
                return differs(
                    "its owner differs",
                    &(expected.uid, expected.gid),
                    &(found.uid, found.gid),
                );
            }
            if expected != found {
                return differs("its kind or size differs", expected, found);
            }
            None
        },
    )
}

/// Compares the files that the file `list` names with the files that were found. Returns a problem
/// for each file that is missing, unexpected or different.
fn compare<T>(
    (list, expected): (&str, &BTreeMap<String, T>),
    found: &BTreeMap<String, T>,
    prefix: &str,
    differ: impl Fn(&str, &T, &T) -> Option<Problem>,
) -> Vec<Problem> {
    let mut out = Vec::new();
    for (name, expected) in expected {
        let path = format!("{prefix}{name}");
        match found.get(name) {
            None => out.push(Problem::new(path, "it is missing")),
            Some(found) => out.extend(differ(&path, expected, found)),
        }
    }
    let unexpected = found.keys().filter(|name| !expected.contains_key(*name));
    out.extend(
        unexpected
            .map(|name| Problem::new(format!("{prefix}{name}"), format!("it is not in {list}"))),
    );
    out
}
