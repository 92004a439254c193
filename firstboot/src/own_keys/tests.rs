//! Tests that a node pairs its own keys with the certificates of a document.

use super::*;
use crate::steps::test_certificates;

fn set() -> KeySet {
    KeySet::generate().unwrap()
}

/// Returns certificates for the keys in a set, but not the keys themselves.
fn certified(keys: &KeySet) -> NodeTls<DocumentCertificate> {
    test_certificates([0, 1, 2].map(|purpose| keys.pem(purpose)))
}

#[test]
fn certificates_are_paired_with_their_keys() {
    let (current, next) = (set(), set());
    let documents = [certified(&current), certified(&next)];
    let keys = [&current, &next].map(|set| [0, 1, 2].map(|purpose| set.pem(purpose)));
    let own = OwnKeys {
        current: Some(current),
        next: Some(next),
    };
    for (document, keys) in documents.iter().zip(keys) {
        let tls = own.complete(document).unwrap();
        assert_eq!(tls.pairs().map(|pair| pair.key.clone()), keys);
        assert_eq!(tls.server.cert, document.server.cert);
    }
}

#[test]
fn certificates_for_another_key_or_for_another_purpose_are_not_usable() {
    let (keys, other) = (set(), set());
    let mut exchanged = certified(&keys);
    std::mem::swap(&mut exchanged.server, &mut exchanged.client);
    let of_other_keys = certified(&other);
    let mut half = certified(&keys);
    half.peer = of_other_keys.peer.clone();
    let own = OwnKeys {
        current: Some(keys),
        next: None,
    };
    for document in [exchanged, of_other_keys, half] {
        assert_eq!(own.complete(&document), None);
    }
    assert_eq!(OwnKeys::default().complete(&certified(&other)), None);
}

#[test]
fn a_key_in_the_document_is_used_unchanged() {
    let tls = crate::steps::test_identity().document_tls;
    assert_eq!(OwnKeys::default().complete(&tls.clone().into()), Some(tls));
}

#[test]
fn keys_are_read_back_from_their_file_and_damage_is_detected() {
    let keys = set();
    let text: String = (0..3).map(|purpose| keys.pem(purpose)).collect();
    let again = KeySet::parse(text.as_bytes()).unwrap();
    assert_eq!(again.0, keys.0);
    assert_eq!(again.fingerprint().unwrap(), keys.fingerprint().unwrap());
    for damaged in [
        String::new(),
        keys.pem(0),
        text.replacen("MIG", "AAA", 1),
        format!("{text}{}", keys.pem(0)),
    ] {
        assert!(KeySet::parse(damaged.as_bytes()).is_err(), "{damaged}");
    }
}
