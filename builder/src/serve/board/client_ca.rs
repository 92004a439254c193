//! Checks the client certificate with which an operator requests the board.
//!
//! The TLS handshake proves only that the client has the certificate's key. The server checks the
//! certificate at each request. A client with a bad certificate therefore receives the reason, and
//! an open connection cannot be used after the certificate has expired.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use crate::pki;
use crate::text_file;

/// The maximum size of the file with the authorities.
const MAX_BYTES: u64 = 1 << 20;

/// The authorities whose client certificates permit access to the board.
#[derive(Debug, Clone)]
pub(in crate::serve) struct ClientCa(Arc<dyn ClientCertVerifier>);

impl ClientCa {
    /// Reads the authorities from a file in PEM.
    pub(in crate::serve) fn read(path: &Path) -> Result<Self> {
        let pem = text_file::bytes(path, MAX_BYTES)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate
                .with_context(|| format!("{} is not a certificate in PEM", path.display()))?;
            roots.add(certificate).with_context(|| {
                format!("a certificate in {} cannot be used as a CA", path.display())
            })?;
        }
        ensure!(
            !roots.is_empty(),
            "{} contains no certificate; expected the ca.crt of the cluster's PKI folder",
            path.display()
        );
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Self(verifier))
    }

    /// Returns the verifier for the TLS handshake.
    pub(in crate::serve) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(AnyCertificate(Arc::clone(&self.0)))
    }

    /// Checks a certificate chain that begins with the leaf. Returns the reason if the chain is
    /// refused.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), &'static str> {
        let (leaf, intermediates) = chain
            .split_first()
            .ok_or("the client did not present a certificate")?;
        self.0
            .verify_client_cert(leaf, intermediates, now)
            .map_err(|error| match error {
                Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. },
                ) => "the certificate has expired",
                Error::InvalidCertificate(
                    CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
                ) => "the certificate is not valid yet",
                Error::InvalidCertificate(
                    CertificateError::UnknownIssuer | CertificateError::BadSignature,
                ) => "the certificate is not signed by a CA in the file of --board-ca",
                _ => "the certificate is not a valid client certificate",
            })?;
        // The CA also signs the nodes' certificates, which do not permit access to the board.
        match pki::is_for_servers(leaf) {
            Ok(false) => Ok(()),
            Ok(true) => Err("the certificate is also valid for servers, so it belongs to a node"),
            Err(_) => Err("the certificate is not a valid client certificate"),
        }
    }
}

/// A verifier that accepts a client without a certificate, and any certificate whose key the client
/// has.
#[derive(Debug)]
struct AnyCertificate(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        KeyUsagePurpose,
    };
    use time::{Duration, OffsetDateTime};

    use super::*;

    pub(in crate::serve::board) struct TestCa {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    impl TestCa {
        pub(in crate::serve::board) fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let pem = params.self_signed(&key).unwrap().pem();
            let issuer = Issuer::new(params, key);
            Self { pem, issuer }
        }

        pub(in crate::serve::board) fn read(&self) -> ClientCa {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ca.crt");
            std::fs::write(&path, &self.pem).unwrap();
            ClientCa::read(&path).unwrap()
        }

        /// Issues a certificate that expires after the given number of minutes.
        pub(in crate::serve::board) fn issue(
            &self,
            ekus: &[ExtendedKeyUsagePurpose],
            minutes: i64,
        ) -> CertificateDer<'static> {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.extended_key_usages = ekus.to_vec();
            params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
            params.not_after = OffsetDateTime::now_utc() + Duration::minutes(minutes);
            let signed = params.signed_by(&key, &self.issuer).unwrap();
            signed.der().clone()
        }
    }

    #[test]
    fn only_a_valid_client_certificate_of_the_ca_is_accepted() {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let (ours, other) = (TestCa::new(), TestCa::new());
        let ca = ours.read();
        let now = UnixTime::now();
        let verify = |certificate| ca.verify(&[certificate], now).err().unwrap_or("good");
        for (certificate, expected) in [
            (ours.issue(&[ClientAuth], 5), "good"),
            (ours.issue(&[ClientAuth], -5), "expired"),
            (other.issue(&[ClientAuth], 5), "not signed by a CA"),
            (
                ours.issue(&[ClientAuth, ServerAuth], 5),
                "belongs to a node",
            ),
            (ours.issue(&[ServerAuth], 5), "not a valid client"),
            (vec![0, 1, 2].into(), "not a valid client"),
        ] {
            let found = verify(certificate);
            assert!(found.contains(expected), "{found}, not {expected}");
        }
        assert!(ca.verify(&[], now).is_err());
    }

    #[test]
    fn a_file_without_a_ca_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        std::fs::write(&path, "").unwrap();
        let error = ClientCa::read(&path).unwrap_err().to_string();
        assert!(error.contains("contains no certificate"), "{error}");
    }

    proptest! {
        #[test]
        fn an_altered_certificate_is_refused(at: prop::sample::Index, change in 1..=255u8) {
            // All cases share one certificate, because creating a certificate is slow.
            static ISSUED: std::sync::LazyLock<(ClientCa, CertificateDer<'static>)> = std::sync::LazyLock::new(|| {
                let ca = TestCa::new();
                (ca.read(), ca.issue(&[ExtendedKeyUsagePurpose::ClientAuth], 600))
            });
            let (ca, certificate) = &*ISSUED;
            let mut der = certificate.to_vec();
            let at = at.index(der.len());
            der[at] ^= change;
            prop_assert!(ca.verify(&[der[..at].to_vec().into()], UnixTime::now()).is_err());
            prop_assert!(ca.verify(&[der.into()], UnixTime::now()).is_err(), "byte {at}");
        }
    }
}
