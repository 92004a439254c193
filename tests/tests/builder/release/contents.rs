//! Tests releases with the right digest and the wrong content, as if the recipe's author had pinned
//! a wrong tarball.

use anyhow::{Context as _, Result, ensure};
use tar::EntryType;

use crate::fake_release::{self, SIZE};
use crate::fixtures::{Fixture, check_output};

type Change = fn(&mut Vec<fake_release::Part>);

/// Changes to a good release. Each consists of a name, a function that makes the change, and the
/// words that the builder must print.
const CHANGES: [(&str, Change, &[&str]); 7] = [
    (
        "leads out",
        |parts| {
            "etcd-v3.5.99-linux-amd64/../etcdctl"
                .clone_into(&mut fake_release::part(parts, "etcdctl").path);
        },
        &["../etcdctl", "contains `..`"],
    ),
    (
        "missing",
        |parts| parts.retain(|part| !part.path.ends_with("/etcd")),
        &["/etcd: it is missing", "another version"],
    ),
    (
        "arm64",
        |parts| fake_release::part(parts, "etcdctl").bytes[18] = 183,
        &["/etcdctl", "arm64 (AArch64)", "x86-64"],
    ),
    (
        "a script",
        |parts| fake_release::part(parts, "etcdutl").bytes[..2].copy_from_slice(b"#!"),
        &["/etcdutl", "script"],
    ),
    (
        "a link",
        |parts| fake_release::part(parts, "etcdutl").kind = EntryType::Symlink,
        &["/etcdutl", "symbolic link"],
    ),
    (
        "too small",
        |parts| fake_release::part(parts, "etcd").bytes.truncate(4096),
        &["/etcd", "a program of 4096 bytes"],
    ),
    (
        "twice",
        |parts| {
            let again = fake_release::part(parts, "etcd").clone();
            parts.push(again);
        },
        &["/etcd", "duplicated"],
    ),
];

pub(super) fn inside() -> Result<()> {
    let workshop = Fixture::new()?;
    let try_with = |parts: &[fake_release::Part], words: &[&str]| -> Result<()> {
        let digest = fake_release::write(&workshop.path("mirror"), parts)?;
        workshop.write_recipe(&digest, "")?;
        let ran = workshop.refused(&[], words)?;
        check_output(&ran, 1, &["the build does not use this tarball"])?;
        let unpacked = workshop.cache().join("releases").join(&digest);
        ensure!(!unpacked.exists(), "{} exists", unpacked.display());
        ensure!(
            !workshop.path("cache/etcdctl").exists()
                && !workshop.cache().join("releases/etcdctl").exists()
        );
        Ok(())
    };
    for (what, change, words) in CHANGES {
        let mut parts = fake_release::parts(SIZE);
        change(&mut parts);
        try_with(&parts, words).context(what)?;
    }
    for (path, kind, words) in [
        (
            "etcd-v3.5.99-linux-amd64/dev",
            EntryType::Char,
            &["a character device"][..],
        ),
        (
            "/etc/passwd",
            EntryType::Regular,
            &["/etc/passwd", "absolute"],
        ),
        (
            "etcd-v3.5.1-linux-amd64/README",
            EntryType::Regular,
            &["not below etcd-v3.5.99-linux-amd64/"],
        ),
    ] {
        let mut parts = fake_release::parts(SIZE);
        parts.push(fake_release::Part {
            path: path.to_owned(),
            kind,
            bytes: Vec::new(),
        });
        try_with(&parts, words).context(path)?;
    }
    Ok(())
}
