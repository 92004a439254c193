//! Tests that a file that cannot be read is never reported as missing. The remedy for a missing
//! file would be wrong for such a file.

use super::*;
use crate::pki::approval::asked;
use crate::pki::client::{issue_client, newest_client};
use crate::pki::{show, signing_public_key};

/// Replaces a file with a symbolic link to itself. Root can read a file of any mode, but no user can
/// read through such a link.
fn make_unreadable(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
    std::os::unix::fs::symlink(path, path).unwrap();
}

/// Returns a PKI folder with a node's certificates, in which one file or folder cannot be read.
fn unreadable(name: &str) -> Folder {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    make_unreadable(&folder.file(name));
    folder
}

#[track_caller]
fn assert_unreadable<T: std::fmt::Debug>(result: Result<T, PkiError>, name: &str) {
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains(name) && error.contains(": cannot ") && error.contains("symbolic links"),
        "{error}"
    );
}

#[test]
fn no_command_reports_an_unreadable_file_as_missing() {
    let life = Duration::hours(1);
    for name in ["ca.crt", "ca.key"] {
        let folder = unreadable(name);
        let dir = folder.path();
        let alice = "alice".parse().unwrap();
        let made = issue_client(&dir, &Authority::Own, &alice, life, None, now());
        assert_unreadable(made, name);
        assert_unreadable(rotate(&dir, 365, now()), name);
        assert_unreadable(show(&dir, now()), name);
        assert_unreadable(folder.open(now()), name);
    }
    for name in ["signing.key", "signing.pub"] {
        assert_unreadable(unreadable(name).open(now()), name);
    }
    assert_unreadable(
        signing_public_key(&unreadable("signing.pub").path()),
        "signing.pub",
    );
    let folder = unreadable("nodes");
    assert_unreadable(show(&folder.path(), now()), "nodes");
    let name = "etcd-1".parse().unwrap();
    assert_unreadable(asked(&folder.path(), &name), "nodes");
    let folder = unreadable("nodes/etcd-1/peer.key");
    assert_unreadable(show(&folder.path(), now()), "peer.key");
    assert_unreadable(folder.node(now(), 101), "peer.key");
}

#[test]
fn an_unreadable_client_certificate_is_reported_unless_another_can_be_used() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    let dir = folder.path();
    let issue = |name: &str| {
        let name = name.parse().unwrap();
        let life = Duration::hours(1);
        issue_client(&dir, &Authority::Own, &name, life, None, now()).unwrap();
    };
    issue("alice");
    make_unreadable(&dir.join("clients/alice/client.crt"));
    assert_unreadable(newest_client(&dir), "alice");
    issue("bob");
    assert_eq!(newest_client(&dir).unwrap(), Some(dir.join("clients/bob")));
    make_unreadable(&dir.join("clients"));
    assert_unreadable(newest_client(&dir), "clients");
}
