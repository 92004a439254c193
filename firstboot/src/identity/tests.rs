//! Tests which documents a node accepts, and which reasons the node reports when it refuses a
//! document.

use recipes::node::{KeyPair, NodeTls};
use recipes::{MachineMatch, SigningKey};

use super::*;
use crate::exit::{Exit, code_of};

fn cluster() -> ClusterDocument {
    recipes::recipe::read(include_str!("../../../recipes/three-node.toml"))
        .recipe
        .unwrap()
        .cluster_document()
}

fn document() -> NodeDocument {
    let member = cluster().members[0].clone();
    let pair = || KeyPair {
        cert: String::new(),
        key: "SECRET".into(),
    };
    let tls = NodeTls {
        ca: String::new(),
        server: pair(),
        peer: pair(),
        client: pair(),
    };
    let cluster = cluster().name;
    NodeDocument {
        cluster,
        name: member.name,
        address: member.address,
        machine: MachineMatch::default(),
        tls: tls.into(),
        previous_ca_tls: None,
        store_keys: None,
        release: None,
    }
}

fn key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
}

fn answer(
    document: &NodeDocument,
    signer: &SigningKey,
    signing_key: &PublicKey,
) -> Result<Identity> {
    let envelope = signer.sign(NODE_TYPE, &serde_json::to_vec(document).unwrap());
    verify(
        FoundDocument {
            origin: "test".into(),
            envelope,
        },
        signing_key,
        cluster(),
        &Machine::default(),
        &OwnKeys::default(),
    )
}

#[track_caller]
fn refused_with(document: &NodeDocument, expected: &str) {
    let key = key();
    let error = answer(document, &key, &key.public()).unwrap_err();
    assert_eq!(code_of(&error), Exit::Refused);
    assert!(error.to_string().contains(expected), "{error}");
    assert!(!error.to_string().contains("SECRET"), "{error}");
}

#[test]
fn the_nodes_own_document_is_accepted() {
    let key = key();
    let identity = answer(&document(), &key, &key.public()).unwrap();
    assert_eq!(identity.fqdn(), "etcd-1.cluster.local");
    assert!(!format!("{identity:?}").contains("SECRET"));
}

#[test]
fn a_document_that_the_image_does_not_trust_is_refused() {
    let error = answer(&document(), &key(), &key().public()).unwrap_err();
    assert!(error.to_string().contains("this image trusts"), "{error}");
}

#[test]
fn a_document_for_another_node_is_refused() {
    refused_with(
        &NodeDocument {
            cluster: "other".parse().unwrap(),
            ..document()
        },
        "it is for the cluster other",
    );
    refused_with(
        &NodeDocument {
            name: "etcd-9".parse().unwrap(),
            ..document()
        },
        "the members in this image are etcd-1, etcd-2",
    );
    refused_with(
        &NodeDocument {
            address: "10.0.0.1".parse().unwrap(),
            ..document()
        },
        "assigns it 10.101.15.101",
    );
    let machine = MachineMatch {
        serial: "X1".parse().ok(),
        ..MachineMatch::default()
    };
    refused_with(
        &NodeDocument {
            machine,
            ..document()
        },
        "it is for the machine with serial x1",
    );
}

#[test]
fn an_outdated_document_is_recognised() {
    let from = |year| crate::steps::test_identity_from(year);
    let said = outdated(&from(2024), &from(2025).node).unwrap();
    assert_eq!(said.id, Some(ReasonId::DocumentOutdated));
    for words in [
        "from a test is older",
        "from 2024-01-01T00:00:00Z",
        "accepted document is valid from 2025-01-01",
        "uses the accepted document, /var/lib/firstboot/node.json",
    ] {
        assert!(said.text.contains(words), "{words}: {}", said.text);
    }
    let of_build = |release| {
        let mut identity = from(2025);
        identity.node.release = release;
        identity
    };
    for (new, old) in [(Some(1), Some(2)), (None, Some(1))] {
        let said = outdated(&of_build(new), &of_build(old).node);
        assert!(said.is_some(), "{new:?} after {old:?}");
    }
    assert_eq!(
        outdated(&of_build(Some(2)), &of_build(Some(1)).node),
        None,
        "a later build"
    );
}

#[test]
fn a_document_that_still_trusts_a_retired_ca_is_outdated() {
    let now = crate::steps::test_identity_from(2025);
    let mut before = crate::steps::test_identity_from(2025);
    before.node.tls.ca =
        now.node.tls.ca.clone() + &crate::rotation::trust_bundle::tests::ca("the retired one");
    let said = outdated(&before, &now.node).unwrap();
    assert_eq!(said.id, Some(ReasonId::DocumentOutdated));
    assert!(
        said.text.contains("still trusts the retired one"),
        "{}",
        said.text
    );
    assert_eq!(outdated(&now, &before.node), None);
}

#[test]
fn a_document_of_the_same_date_or_newer_or_without_a_date_is_not_outdated() {
    let from = |year| crate::steps::test_identity_from(year);
    assert_eq!(outdated(&from(2025), &from(2025).node), None);
    assert_eq!(outdated(&from(2026), &from(2025).node), None);
    // The certificates of `document()` are empty, so this document has no date. Other checks refuse
    // a document with empty certificates.
    assert_eq!(outdated(&from(2024), &document()), None);
}
