//! Tests that written files are complete, have minimal permissions, and match the desired state.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use nix::unistd::{Gid, Uid};

use super::*;

fn own() -> (u32, u32) {
    (Uid::current().as_raw(), Gid::current().as_raw())
}

#[test]
fn a_written_file_is_current_and_has_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = DesiredFile::new(folder.path().join("key"), "secret").mode(0o600, own());
    assert!(!wanted.is_current().unwrap());
    wanted.write().unwrap();
    assert!(wanted.is_current().unwrap());
    assert_eq!(fs::metadata(&wanted.path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "the temporary file must not remain"
    );
}

#[test]
fn a_file_with_another_mode_or_content_is_not_current() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = DesiredFile::new(folder.path().join("a"), "x").mode(0o640, own());
    wanted.write().unwrap();
    assert!(!wanted.clone().mode(0o600, own()).is_current().unwrap());
    assert!(
        !DesiredFile {
            content: b"y".to_vec(),
            ..wanted
        }
        .is_current()
        .unwrap()
    );
}

#[test]
fn a_link_in_place_of_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    let error = DesiredFile::new(&path, "x").is_current().unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[test]
fn a_bounded_read_refuses_a_longer_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 40).unwrap();
    assert!(
        read_bounded(file.path(), 1000)
            .unwrap_err()
            .to_string()
            .contains("larger than the limit of 1000")
    );
}

#[test]
fn the_temporary_file_of_an_interrupted_write_is_removed_and_the_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, "whole").unwrap();
    fs::write(folder.path().join(".a.new"), "ha").unwrap();
    for _ in 0..2 {
        remove_unfinished(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
}

/// A user who can write to a folder that firstboot reads can create a very long sparse file in the
/// folder. Such a file takes almost no space on the disk.
#[test]
fn a_file_that_is_far_too_large_is_refused_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progress");
    fs::File::create(&path).unwrap().set_len(1 << 41).unwrap();
    for error in [read(&path).unwrap_err(), read_if_there(&path).unwrap_err()] {
        let said = format!("{error:#}");
        assert!(
            said.contains("progress: it is larger than the limit of 67108864 bytes"),
            "{said}"
        );
    }
}
