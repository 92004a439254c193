use super::*;
use crate::snapshot::manifest::Plain;
use crate::snapshot::manifest::tests::some;

fn found(path: &Path, sha256: Sha256, revision: i64) -> Vec<String> {
    let contents = DatabaseContents {
        revision,
        ..DatabaseContents::default()
    };
    let digest = TrailingDigest::Good;
    let verified = VerifiedSnapshot {
        sha256: Some(sha256),
        size: 5,
        digest,
        pages: 3,
        used: 3,
        page_size: 4096,
        contents,
    };
    let mut examined = CheckResult {
        verified,
        faults: Faults::default(),
    };
    examined.compare(path);
    examined
        .faults
        .first()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_snapshot_is_compared_with_the_manifest_next_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db.zst");
    let (stored, plain, other) = (
        Sha256::of(b"stored"),
        Sha256::of(b"plain"),
        Sha256::of(b"other"),
    );
    assert_eq!(
        found(&path, other, 1),
        Vec::<String>::new(),
        "there is no manifest"
    );
    let mut manifest = some(1_795_312_800, 5);
    let write = |manifest: &Manifest| {
        std::fs::write(manifest_path(&path), manifest.text().unwrap()).unwrap();
    };
    manifest.sha256 = stored;
    write(&manifest);
    assert_eq!(
        found(&path, other, 1),
        Vec::<String>::new(),
        "the manifest belongs to a different file"
    );
    manifest.file = "a.db.zst".into();
    write(&manifest);
    assert_eq!(found(&path, stored, 7), Vec::<String>::new());
    assert!(
        found(&path, other, 1)[0]
            .contains(&format!("expected the SHA-256 {stored}, as its manifest"))
    );
    assert!(found(&path, stored, 6)[0].contains("expected revision 7, as its manifest"));
    manifest.plain = Some(Plain {
        sha256: plain,
        size: 9,
    });
    write(&manifest);
    assert_eq!(found(&path, plain, 7), Vec::<String>::new());
    assert_eq!(found(&path, stored, 7).len(), 1);
}

/// The user etcd can replace etcd's database with any file. An operator may then check this file as
/// root.
#[test]
fn a_file_that_is_not_regular_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    for path in [&fifo, folder.path(), Path::new("/dev/zero")] {
        for error in [
            ensure_not_in_use(path).unwrap_err(),
            verify(path, DigestCheck::Required).unwrap_err(),
        ] {
            let said = format!("{error:#}");
            assert!(
                said.contains("cannot open") && said.contains("not a regular file"),
                "{said}"
            );
        }
    }
}

/// The sparse file in this test has a length of one terabyte. Reading the whole file would take an
/// hour.
#[test]
fn a_large_file_that_does_not_begin_like_a_database_is_not_read_to_its_end() {
    let file = tempfile::tempfile().unwrap();
    for length in [1 << 40, (1 << 40) + TRAILER] {
        file.set_len(length).unwrap();
        let examined = examine(&file, DigestCheck::Required, &mut |_| ()).unwrap();
        let said = format!(
            "{:#}",
            examined.into_verified(Path::new("huge")).unwrap_err()
        );
        assert!(
            said.contains(
                "huge is not a good snapshot: page 0, byte 16: expected bbolt's magic number"
            ),
            "{said}"
        );
    }
}

/// bbolt locks the file that it has open (flock(2)).
#[test]
fn the_file_of_a_running_etcd_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    ensure_not_in_use(file.path()).unwrap();
    let lock = Flock::lock(file.reopen().unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
    assert!(
        ensure_not_in_use(file.path())
            .unwrap_err()
            .to_string()
            .contains("[snapshot-in-use]")
    );
    drop(lock);
    ensure_not_in_use(file.path()).unwrap();
}

#[test]
fn the_digest_of_a_large_file_without_a_meta_page_is_not_computed() {
    let file = tempfile::tempfile().unwrap();
    for (size, is_computed) in [(WITHOUT_META, true), (WITHOUT_META + 4096, false)] {
        file.set_len(size).unwrap();
        let examined = examine(&file, DigestCheck::Required, &mut |_| ()).unwrap();
        assert_eq!(examined.verified.sha256.is_some(), is_computed, "{size}");
        assert!(examined.faults.count() > 0);
    }
}
