//! Tests the faults that a certificate can have, and the messages for them.

use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose as Eku,
    IsCa, KeyPair as Key,
};
use recipes::node::{DocumentCertificate, NodeTls};
use recipes::{NodeDocument, SigningKey};

use super::*;
use crate::exit::{Exit, code_of};
use crate::identity::Identity;

const NAMES: [&str; 5] = [
    "etcd-1",
    "etcd-1.cluster.local",
    "10.101.15.101",
    "localhost",
    "127.0.0.1",
];

type Ca = CertifiedIssuer<'static, Key>;

static CAS: AtomicU32 = AtomicU32::new(1);

fn ca() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name.push(
        DnType::CommonName,
        format!("test CA {}", CAS.fetch_add(1, Ordering::Relaxed)),
    );
    CertifiedIssuer::self_signed(params, Key::generate().unwrap()).unwrap()
}

fn pair(ca: &Ca, names: &[&str], usages: &[Eku]) -> KeyPair {
    pair_valid(ca, names, usages, 2020..2040)
}

fn pair_valid(ca: &Ca, names: &[&str], usages: &[Eku], years: std::ops::Range<i32>) -> KeyPair {
    let key = Key::generate().unwrap();
    KeyPair {
        cert: cert_for(ca, names, usages, years, &key),
        key: key.serialize_pem(),
    }
}

fn cert_for(
    ca: &Ca,
    names: &[&str],
    usages: &[Eku],
    years: std::ops::Range<i32>,
    key: &Key,
) -> String {
    let mut params =
        CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.extended_key_usages = usages.to_vec();
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    params.signed_by(key, ca).unwrap().pem()
}

/// Returns certificates for these keys. The result omits the keys, like the document of a node that
/// makes its own keys.
pub(crate) fn test_certificates(keys: [String; 3]) -> NodeTls<DocumentCertificate> {
    let ca = ca();
    let [server, peer, client] = keys.map(|key| {
        let key = Key::from_pem(&key).unwrap();
        DocumentCertificate {
            cert: cert_for(&ca, &NAMES, &BOTH, 2020..2040, &key),
            key: None,
        }
    });
    NodeTls {
        ca: ca.pem(),
        server,
        peer,
        client,
    }
}

const BOTH: [Eku; 2] = [Eku::ServerAuth, Eku::ClientAuth];

fn identity(ca: &Ca, change: impl FnOnce(&mut NodeTls)) -> Identity {
    let recipe = recipes::recipe::read(include_str!("../../../../recipes/three-node.toml"))
        .recipe
        .unwrap();
    let cluster = recipe.cluster_document();
    let mut tls = NodeTls {
        ca: ca.pem(),
        server: pair(ca, &NAMES, &BOTH),
        peer: pair(ca, &NAMES, &BOTH),
        client: pair(ca, &[], &[Eku::ClientAuth]),
    };
    change(&mut tls);
    let member = cluster.members[0].clone();
    let node = NodeDocument {
        cluster: cluster.name.clone(),
        name: member.name,
        address: member.address,
        machine: recipes::MachineMatch::default(),
        tls: tls.clone().into(),
        previous_ca_tls: None,
        store_keys: None,
        release: None,
    };
    let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
    Identity {
        node,
        document_tls: tls.clone(),
        previous_ca_tls: None,
        envelope: key.sign("t", b""),
        origin: "a test".into(),
        cluster,
        tls,
    }
}

/// Returns a node with valid certificates.
pub(crate) fn test_identity() -> Identity {
    test_identity_from(2020)
}

/// Returns a node with valid certificates. The peer certificate is valid from the first of January
/// of `year` on, and the other certificates are valid from 2020 on.
pub(crate) fn test_identity_from(year: i32) -> Identity {
    let ca = ca();
    identity(&ca, |tls| {
        tls.peer = pair_valid(&ca, &NAMES, &BOTH, year..2040);
    })
}

/// Returns a node whose certificates are valid from 2020 until the first of January of `year`.
pub(crate) fn test_identity_until(year: i32) -> Identity {
    let ca = ca();
    identity(&ca, |tls| {
        tls.server = pair_valid(&ca, &NAMES, &BOTH, 2020..year);
        tls.peer = pair_valid(&ca, &NAMES, &BOTH, 2020..year);
        tls.client = pair_valid(&ca, &[], &[Eku::ClientAuth], 2020..year);
    })
}

/// The time of the checks, 2026-11-22.
const NOW: u64 = 1_795_305_600;

fn check_now(identity: &Identity) -> Result<()> {
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
    check_at(identity, &identity.document_tls, &names(identity), now)
}

fn said(ca: &Ca, change: impl FnOnce(&mut NodeTls)) -> String {
    check_now(&identity(ca, change)).map_or_else(|error| format!("{error:#}"), |()| String::new())
}

#[test]
fn certificates_from_the_builder_are_accepted() {
    assert_eq!(said(&ca(), |_| {}), "");
}

#[test]
fn a_key_that_does_not_match_is_refused() {
    let ca = ca();
    let stranger = pair(&ca, &NAMES, &BOTH);
    let said = said(&ca, |tls| tls.peer.key = stranger.key);
    assert!(
        said.contains("the peer certificate of etcd-1") && said.contains("key does not match"),
        "{said}"
    );
}

#[test]
fn an_error_shows_the_clock_next_to_the_dates() {
    let ca = ca();
    let old = pair_valid(&ca, &NAMES, &BOTH, 2020..2021);
    let answer = said(&ca, |tls| tls.server = old);
    assert!(
        answer.contains("it expired on 2021-01-01") && answer.contains("clock shows 2026-11-22"),
        "{answer}"
    );
    let future = pair_valid(&ca, &NAMES, &BOTH, 2030..2031);
    let answer = said(&ca, |tls| tls.server = future);
    assert!(
        answer.contains("valid from 2030-01-01") && answer.contains("clock shows 2026-11-22"),
        "{answer}"
    );
}

#[test]
fn a_certificate_with_other_dates_is_worth_another_attempt_because_the_clock_may_be_wrong() {
    let ca = ca();
    for (years, exit) in [(2030..2031, Exit::NotReady), (2020..2021, Exit::NotReady)] {
        let peer = pair_valid(&ca, &NAMES, &BOTH, years);
        let error = check_now(&identity(&ca, |tls| tls.peer = peer)).unwrap_err();
        assert_eq!(code_of(&error), exit, "{error:#}");
    }
    let stranger = pair(&ca, &NAMES, &BOTH).key;
    let error = check_now(&identity(&ca, |tls| tls.peer.key = stranger)).unwrap_err();
    assert_eq!(code_of(&error), Exit::Refused, "{error:#}");
}

#[test]
fn each_name_that_a_certificate_lacks_is_reported() {
    let ca = ca();
    for missing in NAMES {
        let names: Vec<&str> = NAMES.into_iter().filter(|name| *name != missing).collect();
        let short = pair(&ca, &names, &BOTH);
        let answer = said(&ca, |tls| tls.server = short);
        assert!(
            answer.contains(&format!(
                "{missing} is not among its subject alternative names"
            )),
            "{missing}: {answer}"
        );
    }
}

#[test]
fn the_key_usage_and_the_issuer_of_a_certificate_are_checked() {
    let (ca, other) = (ca(), ca());
    let server_only = pair(&ca, &NAMES, &[Eku::ServerAuth]);
    let answer = said(&ca, |tls| tls.peer = server_only);
    assert!(
        answer.contains("does not allow its use for a client"),
        "{answer}"
    );
    let other_ca = pair(&other, &NAMES, &BOTH);
    let answer = said(&ca, |tls| tls.server = other_ca);
    assert!(
        answer.contains("the CA in the same document did not sign it"),
        "{answer}"
    );
}

#[test]
fn unreadable_certificates_cause_an_error_and_no_panic() {
    let ca = ca();
    for garbage in [
        "",
        "x",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert_ne!(
            said(&ca, |tls| tls.server.cert = garbage.into()),
            "",
            "{garbage}"
        );
        assert_ne!(
            said(&ca, |tls| tls.server.key = garbage.into()),
            "",
            "{garbage}"
        );
        assert_ne!(said(&ca, |tls| tls.ca = garbage.into()), "", "{garbage}");
    }
}
