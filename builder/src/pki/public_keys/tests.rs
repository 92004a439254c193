//! Tests that only the public keys are read from a certificate request, and only if the holder of
//! the private keys signed the request.

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

use super::*;

/// Returns a request for certificates with these keys and these names.
fn request(keys: &[&KeyPair], names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let one = |key: &&KeyPair| {
        let params = CertificateParams::new(names.clone()).unwrap();
        params.serialize_request(*key).unwrap().pem().unwrap()
    };
    keys.iter().map(one).collect()
}

fn three() -> [KeyPair; 3] {
    [(); 3].map(|()| KeyPair::generate().unwrap())
}

fn parse(text: &str) -> Result<PublicKeys, RequestError> {
    PublicKeys::of_request(text.as_bytes())
}

fn ders(text: &str) -> Vec<Vec<u8>> {
    CertificateSigningRequestDer::pem_slice_iter(text.as_bytes())
        .map(|der| der.unwrap().as_ref().to_vec())
        .collect()
}

fn pems(ders: &[Vec<u8>]) -> String {
    ders.iter()
        .map(|der| pem::encode("CERTIFICATE REQUEST", der))
        .collect()
}

#[test]
fn only_the_keys_are_read_from_a_request() {
    let keys = three();
    let all: Vec<&KeyPair> = keys.iter().collect();
    let found = parse(&request(&all, &[])).unwrap();
    for (role, key) in Role::ALL.into_iter().zip(&keys) {
        assert_eq!(found.of(role), key.subject_public_key_info());
    }
    let named = format!("# etcd-2\n{}", request(&all, &["etcd-2", "10.0.0.2"]));
    assert_eq!(parse(&named).unwrap(), found);
    assert_eq!(PublicKeys::of_record(&found.record()), Some(found));
}

#[test]
fn incomplete_surplus_and_unproven_requests_are_refused() {
    let keys = three();
    let [server, peer, client] = &keys;
    let whole = request(&[server, peer, client], &[]);
    let count = |text: &str, count| assert_eq!(parse(text), Err(RequestError::Count(count)));
    count("", 0);
    count("-----BEGIN CERTIFICATE REQUEST-----\n", 0);
    count(&request(&[server, peer], &[]), 2);
    count(&format!("{whole}{whole}"), 4);
    assert_eq!(
        parse(&request(&[server, peer, server], &[])),
        Err(RequestError::SameKey)
    );
    assert_eq!(
        parse(&format!("{whole}{}", " ".repeat(REQUEST_LIMIT))),
        Err(RequestError::TooLong)
    );
    let unusable = |text: &str, number, part: &str| match parse(text) {
        Err(RequestError::Unusable { number: at, why }) if at == number => {
            assert!(why.contains(part), "{why}");
        }
        other => panic!("{other:?}"),
    };
    let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    unusable(&request(&[server, &other, client], &[]), 2, "P-256");
    let good = ders(&whole);
    let changed = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut ders = good.clone();
        change(&mut ders);
        pems(&ders)
    };
    unusable(
        &changed(&|ders| ders[0].push(0)),
        1,
        "data after the request",
    );
    unusable(&changed(&|ders| ders[1].clear()), 2, "RFC 2986");
    // The key of another request replaces the request's own key, so the signature does not match.
    let other_key = peer.subject_public_key_info();
    let swapped = changed(&|ders| {
        let own = server.subject_public_key_info();
        let at = ders[0].windows(own.len()).position(|part| part == own);
        let at = at.unwrap();
        ders[0][at..at + own.len()].copy_from_slice(&other_key);
    });
    unusable(&swapped, 1, "not signed with the key");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(PublicKeys::of_request(&bytes).is_err());
        let _ = PublicKeys::of_record(&String::from_utf8_lossy(&bytes));
        let _ = proven_key(&bytes);
        let block = pem::encode("CERTIFICATE REQUEST", &bytes).repeat(3);
        prop_assert!(parse(&block).is_err());
    }

    #[test]
    fn a_changed_request_never_yields_another_key(at: prop::sample::Index, change in 1..=255u8) {
        // All cases share one request, because creating a request is slow.
        static REQUEST: std::sync::LazyLock<Vec<u8>> =
            std::sync::LazyLock::new(|| ders(&request(&[&three()[0]], &["etcd-1"])).remove(0));
        let mut der = REQUEST.clone();
        let key = proven_key(&der).unwrap();
        let at = at.index(der.len());
        der[at] ^= change;
        // Changes to some bits outside the signed part have no effect.
        prop_assert!(proven_key(&der).is_err() || proven_key(&der) == Ok(key));
        prop_assert!(proven_key(&der[..at]).is_err());
    }
}
