//! Reads, from a node's certificate request, the public halves of the keys that the node generated
//! itself. The builder ignores all other parts of a request, because the recipe determines names,
//! addresses, purposes and lifetimes.

use std::path::Path;

use recipes::node::key_fingerprint;
use recipes::{Sha256, pem};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateSigningRequestDer, SubjectPublicKeyInfoDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::certificate::Certificate;
use super::error::PkiError;
use super::store;
use super::validate::Role;

/// The size limit of a request, in bytes. A request from firstboot has about 1.5 KB.
pub(crate) const REQUEST_LIMIT: usize = 64 << 10;

/// The `SubjectPublicKeyInfo` of an ECDSA P-256 key, up to the curve point (RFC 5480). firstboot
/// generates only this kind of key, so each key has only one encoding.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// `ecdsa-with-SHA256` (RFC 5758, 3.2).
const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";

/// The file in the node's folder that records the node's keys.
pub(super) const ENROLLED: &str = "enrolled.pub";

/// A node's three public keys, each a `SubjectPublicKeyInfo` in DER, in the order of [`Role::ALL`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKeys([Vec<u8>; 3]);

/// The reason why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// The request exceeds the size limit.
    #[error("it is longer than {REQUEST_LIMIT} bytes")]
    TooLong,
    /// The text is not PEM, or does not contain three requests. Requests after the fourth are not
    /// counted.
    #[error("expected three CERTIFICATE REQUEST blocks in PEM, found {}", if *.0 > 3 { "more".to_owned() } else { .0.to_string() })]
    Count(usize),
    /// One of the three requests is not of the kind that firstboot creates.
    #[error("its request {number} is not usable: {why}")]
    Unusable {
        /// The number of the unusable request, counted from 1.
        number: usize,
        why: &'static str,
    },
    /// Two of the three requests are for the same key.
    #[error("two of its requests are for the same key")]
    SameKey,
}

impl PublicKeys {
    /// Reads a request, which consists of three certificate requests in PEM. Each certificate
    /// request must be signed with the key that it contains.
    pub(crate) fn of_request(text: &[u8]) -> Result<Self, RequestError> {
        if text.len() > REQUEST_LIMIT {
            return Err(RequestError::TooLong);
        }
        let found: Vec<_> = CertificateSigningRequestDer::pem_slice_iter(text)
            .take(4)
            .filter_map(Result::ok)
            .collect();
        let count = found.len();
        let requests = <[CertificateSigningRequestDer<'_>; 3]>::try_from(found)
            .map_err(|_| RequestError::Count(count))?;
        let mut keys = Vec::new();
        for (at, request) in requests.iter().enumerate() {
            let unusable = |why| RequestError::Unusable {
                number: at + 1,
                why,
            };
            keys.push(proven_key(request.as_ref()).map_err(unusable)?);
        }
        Self::of_ders(keys).ok_or(RequestError::SameKey)
    }

    /// Reads the record of enrolled keys.
    pub(super) fn of_record(text: &str) -> Option<Self> {
        let keys = SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes())
            .map(|key| key.ok().map(|key| key.as_ref().to_vec()))
            .collect::<Option<Vec<_>>>()?;
        let known = keys
            .iter()
            .all(|key| key.len() == P256.len() + 65 && key.starts_with(&P256));
        Self::of_ders(keys).filter(|_| known)
    }

    fn of_ders(keys: Vec<Vec<u8>>) -> Option<Self> {
        let keys = <[Vec<u8>; 3]>::try_from(keys).ok()?;
        let [server, peer, client] = &keys;
        (server != peer && peer != client && client != server).then_some(Self(keys))
    }

    /// Formats the record of the keys: their fingerprint, and each key in PEM.
    pub(super) fn record(&self) -> String {
        let blocks = self.0.iter().map(|key| pem::encode("PUBLIC KEY", key));
        format!(
            "# key {}\n{}",
            self.fingerprint(),
            blocks.collect::<String>()
        )
    }

    /// Returns the fingerprint that the node prints and the operator compares.
    pub(crate) fn fingerprint(&self) -> Sha256 {
        key_fingerprint(&self.0)
    }

    /// Returns whether two sets of keys have a key in common.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|key| other.holds(key))
    }

    /// Returns whether a key is one of the node's three keys.
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.0.iter().any(|own| own == key)
    }

    /// Returns the key for a purpose, as a `SubjectPublicKeyInfo` in DER.
    pub(super) fn of(&self, role: Role) -> &[u8] {
        match role {
            Role::Server => &self.0[0],
            Role::Peer => &self.0[1],
            Role::Client => &self.0[2],
        }
    }
}

/// Returns the key of a certificate request, if the holder of the private key signed the request.
fn proven_key(der: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (rest, request) = X509CertificationRequest::from_der(der)
        .map_err(|_| "it is not a certificate request (RFC 2986)")?;
    if !rest.is_empty() {
        return Err("there is data after the request");
    }
    let info = &request.certification_request_info;
    let key = info.subject_pki.raw;
    let point = key
        .strip_prefix(&P256)
        .filter(|point| point.len() == 65)
        .ok_or("its key is not ECDSA P-256, the kind that firstboot generates")?;
    if request.signature_algorithm.algorithm.to_id_string() != ECDSA_SHA256 {
        return Err("it is not signed with ECDSA and SHA-256");
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(info.raw, &request.signature_value.data)
        .map_err(|_| "it is not signed with the key that it contains")?;
    Ok(key.to_vec())
}

/// Checks a certificate that has no private key next to it. Returns `None` if the certificate is
/// for one of the node's recorded keys, otherwise the fault.
pub(super) fn problem(cert: &Path, chain: &[Certificate]) -> Result<Option<String>, PkiError> {
    let Some(keys) = cert.parent().map(read).transpose()?.flatten() else {
        return Ok(Some("its private key is missing".to_owned()));
    };
    let held = chain
        .first()
        .is_some_and(|leaf| keys.holds(&leaf.public_key));
    Ok((!held).then(|| "it is not for any of the node's keys".to_owned()))
}

/// Reads the keys that are recorded in a node's folder.
pub(super) fn read(folder: &Path) -> Result<Option<PublicKeys>, PkiError> {
    let path = folder.join(ENROLLED);
    let Some(text) = store::read(&path)? else {
        return Ok(None);
    };
    PublicKeys::of_record(&text).map(Some).ok_or_else(|| {
        let found = "it does not contain the three public keys of the node";
        PkiError::wrong(&path, found, "restore it from a backup")
    })
}

#[cfg(test)]
impl PublicKeys {
    /// Returns the public halves of new keys, from a certificate request.
    pub(crate) fn generate() -> Self {
        let request = |()| {
            let key = rcgen::KeyPair::generate().unwrap();
            let request = rcgen::CertificateParams::default().serialize_request(&key);
            request.unwrap().pem().unwrap()
        };
        Self::of_request([(); 3].map(request).concat().as_bytes()).unwrap()
    }
}

#[cfg(test)]
mod tests;
