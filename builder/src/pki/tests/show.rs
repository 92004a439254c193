//! Tests the output of `builder pki show` for a folder.

use std::fs;

use time::Duration;

use super::*;
use crate::documentation::{documented, keys};

#[test]
fn show_lists_every_certificate_with_its_problems_and_no_key() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    let infos = crate::pki::show(&folder.path(), now()).unwrap();
    assert_eq!(infos.len(), 4);
    assert!(
        infos.iter().all(|info| info.problems.is_empty()),
        "{infos:?}"
    );
    assert_eq!((infos[0].days_left, infos[1].days_left), (3650, 365));
    fs::set_permissions(folder.file("ca.key"), Permissions::from_mode(0o644)).unwrap();
    fs::copy(
        folder.file("nodes/etcd-1/peer.key"),
        folder.file("nodes/etcd-1/server.key"),
    )
    .unwrap();
    let infos = crate::pki::show(&folder.path(), now() + Duration::days(366)).unwrap();
    let text = table(&infos, &folder.path());
    let expected = [
        "mode of its key is 0644",
        "it expired on",
        "it does not match the private key in the same folder",
        "etcd-1/client.crt",
    ];
    for expected in expected {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(
        !text.contains("PRIVATE") && !serde_json::to_string(&infos).unwrap().contains("PRIVATE")
    );
}

#[test]
fn the_documentation_lists_exactly_the_keys_of_a_certificate() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    let infos = crate::pki::show(&folder.path(), now()).unwrap();
    assert_eq!(documented("json.md", "builder pki show"), keys(&infos[0]));
}
