//! Parses PEM text into a set of CAs, each identified by its subject.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;

use crate::domain::CaSubject;
use crate::exit::refused;
use crate::reason::ReasonId;

/// A set of CAs, identified by their subjects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TrustBundle(BTreeMap<CaSubject, Root>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    certificate: CertificateDer<'static>,
    public_key: Vec<u8>,
}

impl Root {
    /// Verifies a certificate as a client certificate, because every certificate of a node may act
    /// as a client certificate.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), rustls::Error> {
        let mut store = RootCertStore::empty();
        store.add(self.certificate.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier
            .verify_client_cert(leaf, intermediates, at)
            .map(drop)
    }
}

#[cfg(test)]
impl CaSubject {
    /// Returns the subject of a CA with this common name.
    pub(crate) fn of(common_name: &str) -> Self {
        TrustBundle::read(&tests::ca(common_name))
            .unwrap()
            .names()
            .pop_first()
            .unwrap()
    }
}

impl TrustBundle {
    /// Reads all CAs from PEM text.
    ///
    /// # Errors
    /// Fails if a CA certificate cannot be parsed. Returns a refusal if two CAs with the same
    /// subject have different keys.
    pub(crate) fn read(pem: &str) -> Result<Self> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).try_fold(
            Self::default(),
            |all, certificate| {
                let certificate = certificate.context("a CA certificate is not PEM")?;
                let mut store = RootCertStore::empty();
                store
                    .add(certificate.clone())
                    .context("a CA certificate cannot be used")?;
                let name = CaSubject::new(store.subjects()[0].as_ref());
                let public_key = store.roots[0].subject_public_key_info.to_vec();
                all.and(Self(BTreeMap::from([(
                    name,
                    Root {
                        certificate,
                        public_key,
                    },
                )])))
            },
        )
    }

    pub(crate) fn names(&self) -> BTreeSet<CaSubject> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.values().map(|root| &root.certificate)
    }

    /// Merges these CAs with the CAs in `others`.
    ///
    /// # Errors
    /// Returns a refusal if two CAs with the same subject have different keys, because firstboot
    /// cannot determine which of the two CAs a member trusts.
    pub(super) fn and(mut self, others: Self) -> Result<Self> {
        for (name, root) in others.0 {
            let own = self.0.entry(name.clone()).or_insert_with(|| root.clone());
            if own.public_key != root.public_key {
                return Err(refused(ReasonId::CaNameClash.because(format!(
                    "two CAs with different keys have the same subject `{name}`, so firstboot \
                     cannot determine which of them a member trusts. Give the new CA a different \
                     subject"
                ))));
            }
        }
        Ok(self)
    }

    pub(super) fn pem(&self) -> String {
        let mut text = String::new();
        for root in self.0.values() {
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            // RFC 7468 requires 64 characters per line. Splitting at any byte is safe, because
            // base64 is ASCII.
            let encoded = STANDARD.encode(&root.certificate);
            for line in encoded.as_bytes().chunks(64) {
                let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        text
    }

    /// Returns the CA that signed this certificate. Returns `None` if none of these CAs signed it,
    /// or if the certificate is not valid now.
    pub(super) fn issuer(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Option<CaSubject> {
        let signed = |root: &Root| root.verify(leaf, intermediates, UnixTime::now()).is_ok();
        self.0
            .iter()
            .find(|(_, root)| signed(root))
            .map(|(name, _)| name.clone())
    }

    /// Returns the CA that signed the leaf of a PEM chain, which starts with the leaf. Returns
    /// `None` if none of these CAs signed the leaf, or if the leaf is not valid now.
    pub(super) fn issuer_of(&self, chain: &str) -> Option<CaSubject> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .ok()?;
        let (leaf, intermediates) = chain.split_first()?;
        self.issuer(leaf, intermediates)
    }
}

/// Formats names as a list for a message.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a CaSubject>) -> String {
    names
        .into_iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exit::{Exit, code_of};
    use crate::steps::test_identity;

    pub(crate) fn ca(common_name: &str) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, common_name);
        params
            .self_signed(&rcgen::KeyPair::generate().unwrap())
            .unwrap()
            .pem()
    }

    #[test]
    fn a_written_bundle_is_read_back() {
        let (one, other) = (test_identity().tls, test_identity().tls);
        let all = TrustBundle::read(&format!("{}{}", one.ca, other.ca)).unwrap();
        assert_eq!(all.names().len(), 2);
        assert_eq!(TrustBundle::read(&all.pem()).unwrap(), all);
        let again = all
            .clone()
            .and(TrustBundle::read(&one.ca).unwrap())
            .unwrap();
        assert_eq!(again, all, "a CA that occurs twice is kept once");
        let name = TrustBundle::read(&one.ca)
            .unwrap()
            .names()
            .pop_first()
            .unwrap();
        assert!(name.to_string().starts_with("test CA "), "{name}");
        let text = serde_json::to_string(&name).unwrap();
        assert_eq!(serde_json::from_str::<CaSubject>(&text).unwrap(), name);
    }

    #[test]
    fn the_issuer_of_a_certificate_is_found() {
        let (one, other) = (test_identity().tls, test_identity().tls);
        let all = TrustBundle::read(&format!("{}{}", one.ca, other.ca)).unwrap();
        let names =
            |tls: &recipes::node::NodeTls| TrustBundle::read(&tls.ca).unwrap().names().pop_first();
        assert_eq!(all.issuer_of(&one.peer.cert), names(&one));
        assert_eq!(all.issuer_of(&other.client.cert), names(&other));
        assert_eq!(all.issuer_of(&test_identity().tls.peer.cert), None);
        assert_eq!(all.issuer_of("no certificate"), None);
    }

    #[test]
    fn two_cas_with_one_name_and_different_keys_are_refused() {
        let error = TrustBundle::read(&(ca("one name") + &ca("one name"))).unwrap_err();
        assert!(
            code_of(&error) == Exit::Refused && error.to_string().contains("`one name`"),
            "{error:#}"
        );
    }

    proptest! {
        #[test]
        fn no_name_causes_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(!CaSubject::new(&bytes).to_string().contains(char::is_control));
        }

        #[test]
        fn no_text_causes_a_panic(text in "(-----BEGIN CERTIFICATE-----\n)?[ -~\n]{0,200}(-----END CERTIFICATE-----\n)?") {
            let _ = TrustBundle::read(&text);
        }
    }
}
