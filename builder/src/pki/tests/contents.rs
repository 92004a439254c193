//! Tests that a node gets new certificates when another part of its document changes.

use super::*;
use crate::pki::PublicKeys;

impl Folder {
    /// Issues a node's certificates as a build does. `contents` stands for the rest of the node's
    /// document.
    fn issue_for(&self, contents: &[u8]) -> (NodeTls, Vec<Event>) {
        let mut pki = self.open(now()).unwrap();
        let (node, contents) = (Node::new("etcd-1"), Sha256::of(contents));
        let issued = pki.issue_for(&node.name, contents, |pki| pki.node_tls(&node.at(101)));
        (issued.unwrap().0, pki.events().to_vec())
    }

    /// Returns the times at which the validity of the node's certificates begins.
    fn dates(&self) -> [OffsetDateTime; 3] {
        ["server", "peer", "client"].map(|name| self.leaf(name).not_before)
    }
}

#[test]
fn a_change_replaces_all_certificates_with_certificates_that_begin_later() {
    let folder = Folder::new();
    let (first, _) = folder.issue_for(b"one");
    assert_eq!(folder.issue_for(b"one"), (first, vec![]));
    let before = folder.dates();
    let (second, events) = folder.issue_for(b"two");
    assert!(
        events.len() == 6
            && events[0]
                .to_string()
                .contains("part of the node's document"),
        "{events:?}"
    );
    for (before, after) in before.into_iter().zip(folder.dates()) {
        assert!(after > before, "{after} is not later than {before}");
    }
    assert_eq!(folder.issue_for(b"two"), (second, vec![]));
    let record = fs::metadata(folder.file("nodes/etcd-1/contents-digest")).unwrap();
    assert_eq!(record.permissions().mode() & 0o7777, 0o600);
}

#[test]
fn the_first_build_in_a_folder_of_an_earlier_builder_keeps_the_certificates() {
    let folder = Folder::new();
    let (first, _) = folder.node(now(), 101).unwrap();
    assert_eq!(folder.issue_for(b"one"), (first.clone(), vec![]));
    assert_ne!(folder.issue_for(b"two").0.server, first.server);
}

#[test]
fn a_build_that_fails_before_it_replaces_the_certificates_records_nothing() {
    let folder = Folder::new();
    let (first, _) = folder.issue_for(b"one");
    let mut pki = folder.open(now()).unwrap();
    let failed = pki.issue_for(&Node::new("etcd-1").name, Sha256::of(b"two"), |pki| {
        Err::<(), _>(PkiError::wrong(&pki.dir, "a test", "none"))
    });
    failed.unwrap_err();
    drop(pki);
    assert_ne!(folder.issue_for(b"two").0.server, first.server);
}

#[test]
fn a_node_that_generated_its_keys_gets_certificates_that_begin_later() {
    let folder = Folder::new();
    let node = Node::new("etcd-1");
    let mut pki = folder.open(now()).unwrap();
    pki.enrol(&node.name, &PublicKeys::generate(), FirstKeyPolicy::Any)
        .unwrap();
    drop(pki);
    let issue_for = |contents: &[u8]| {
        let mut pki = folder.open(now()).unwrap();
        let contents = Sha256::of(contents);
        let issued = pki.issue_for(&node.name, contents, |pki| pki.certificates(&node.at(101)));
        issued.unwrap().unwrap().0
    };
    let first = issue_for(b"one");
    assert_eq!(issue_for(b"one"), first);
    let before = folder.dates();
    let second = issue_for(b"two");
    assert_eq!(second.ca, first.ca);
    for (before, after) in before.into_iter().zip(folder.dates()) {
        assert!(after > before, "{after} is not later than {before}");
    }
    assert_eq!(issue_for(b"two"), second);
}

#[test]
fn ready_made_certificates_stay_and_the_operator_is_warned() {
    let folder = Folder::new();
    let (first, _) = folder.issue_for(b"one");
    fs::remove_file(folder.file("ca.key")).unwrap();
    let (second, events) = folder.issue_for(b"two");
    assert_eq!(second, first);
    let warns = |event: &Event| matches!(event, Event::Warning { text, .. } if text.contains("part of the node's document"));
    assert!(events.len() == 3 && events.iter().all(warns), "{events:?}");
}
