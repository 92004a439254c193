//! Tests which certificates a member uses during the replacement of a CA.

use super::*;
use crate::steps::{test_identity, test_identity_until};

/// Returns a member whose certificates are valid until the first of January of the year `until`,
/// and whose document contains certificates of a new CA.
fn deferring(until: i32) -> (Identity, NodeTls) {
    let old = test_identity_until(until).tls;
    let mut identity = test_identity();
    identity.tls =
        interim::interim_certificates(&identity.document_tls, &old, &BTreeSet::new()).unwrap();
    assert!(interim::same_pairs(&identity.tls, &old));
    (identity, old)
}

fn end_deferral(identity: &mut Identity) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path().join("journal")).unwrap();
    end_expired_deferral(identity, &journal).unwrap()
}

#[test]
fn certificates_that_expire_while_others_are_deferred_are_replaced() {
    let (mut identity, old) = deferring(2021);
    let trusted = identity.tls.ca.clone();
    assert!(end_deferral(&mut identity));
    assert!(interim::same_pairs(&identity.tls, &identity.document_tls));
    assert_eq!(identity.tls.ca, trusted, "a CA was added or dropped");
    assert!(trusted.contains(&old.ca));
    assert!(!end_deferral(&mut identity), "the deferral ends only once");
}

#[test]
fn valid_certificates_of_the_previous_ca_are_preferred() {
    let (mut identity, _) = deferring(2021);
    // The document also contains certificates of the previous CA, which were issued later than the
    // certificates in use.
    let before = test_identity().tls;
    identity.previous_ca_tls = Some(before.clone());
    assert!(end_deferral(&mut identity));
    assert!(interim::same_pairs(&identity.tls, &before));
}

#[test]
fn valid_certificates_remain_in_use() {
    let (mut identity, _) = deferring(2040);
    let used = identity.tls.clone();
    assert!(!end_deferral(&mut identity));
    assert_eq!(identity.tls, used);
}

#[test]
fn expired_certificates_remain_if_those_of_the_document_have_also_expired() {
    let (mut identity, old) = deferring(2021);
    identity.document_tls = test_identity_until(2021).tls;
    assert!(!end_deferral(&mut identity));
    assert!(interim::same_pairs(&identity.tls, &old));
}

#[test]
fn a_power_cut_between_a_key_and_its_certificate_drops_no_ca() {
    let mut identity = test_identity();
    let mut installed = test_identity().tls;
    // The new key is on the disk, but its certificate is not.
    installed.server.key = identity.document_tls.server.key.clone();
    let both = [&identity.document_tls.ca, &installed.ca].map(|pem| authorities(pem).unwrap());
    defer(&mut identity, Some(installed.clone()), &BTreeSet::new()).unwrap();
    assert!(interim::same_pairs(&identity.tls, &identity.document_tls));
    assert_eq!(authorities(&identity.tls.ca).unwrap(), &both[0] | &both[1]);

    // A damaged file does not prevent the node from using its document.
    "-----BEGIN CERTIFICATE-----\nno CA".clone_into(&mut installed.ca);
    identity.tls = identity.document_tls.clone();
    defer(&mut identity, Some(installed), &BTreeSet::new()).unwrap();
    assert_eq!(identity.tls, identity.document_tls);
}
