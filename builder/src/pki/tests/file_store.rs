//! Tests how the files of a PKI folder are written and read.

use super::*;
use crate::pki::store::{Lock, PUBLIC, SECRET, archive, put, read, read_secret};

#[test]
fn a_file_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.key");
    put(&path, b"one", SECRET).unwrap();
    assert!(put(&path, b"two", SECRET).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"one");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "a partial file remains"
    );
}

#[test]
fn a_file_that_is_too_large_or_not_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca-bundle.crt");
    for (content, words) in [
        (vec![b'a'; 1 + (1 << 20)], "more than 1048576 bytes"),
        (vec![0xff], "not UTF-8"),
    ] {
        fs::write(&path, content).unwrap();
        let error = format!("{:#}", anyhow::Error::from(read(&path).unwrap_err()));
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn two_files_archived_in_one_second_are_both_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
    for content in ["one", "two"] {
        put(&path, content.as_bytes(), PUBLIC).unwrap();
        archive(&path, now).unwrap();
    }
    assert_eq!(
        fs::read_to_string(dir.path().join("a.old-20270115T080000Z")).unwrap(),
        "one"
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("a.old-20270115T080000Z-2")).unwrap(),
        "two"
    );
}

#[test]
fn a_build_waits_for_a_locked_folder_and_then_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let held = Lock::wait_for(dir.path(), std::time::Duration::ZERO).unwrap();
    let error = Lock::wait_for(dir.path(), std::time::Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, PkiError::Busy { .. }), "{error}");
    drop(held);
    // Another test may start a process at this moment. Until the new process calls exec, it has a
    // copy of the lock's file descriptor, which also holds the lock.
    Lock::wait_for(dir.path(), std::time::Duration::from_secs(10)).unwrap();
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.key");
    put(&path, b"k", 0o640).unwrap();
    let error = read_secret(&path).unwrap_err().to_string();
    assert!(
        error.contains("0640") && error.contains("chmod 600"),
        "{error}"
    );
}
