//! Certificates, checked as etcd and its peers will check them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use recipes::node::{KeyPair, NodeTls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};

use crate::exit::{not_ready, refused};

/// Since when the newest of a node's certificates is valid.
///
/// # Errors
/// Where one of them is not by the node's authority, or cannot be read.
pub(crate) fn issued(tls: &NodeTls) -> Result<UnixTime> {
    let newest = [&tls.server, &tls.peer, &tls.client].map(|pair| valid_from(pair, &tls.ca));
    newest.into_iter().try_fold(UnixTime::since_unix_epoch(Duration::ZERO), |newest, from| Ok(newest.max(from?)))
}

/// Since when a certificate is valid. The verifier says so when it is asked about the beginning of time.
fn valid_from(pair: &KeyPair, ca: &str) -> Result<UnixTime> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect::<Result<_, _>>()?;
    let (leaf, intermediates) = chain.split_first().context("there is no certificate")?;
    let beginning = UnixTime::since_unix_epoch(Duration::ZERO);
    match Authority::new(ca)?.verifier()?.verify_client_cert(leaf, intermediates, beginning) {
        Ok(_) => Ok(beginning),
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
            Ok(not_before)
        }
        Err(error) => Err(error.into()),
    }
}

/// The CAs of which one must have signed.
pub(crate) struct Authority {
    roots: Arc<RootCertStore>,
}

impl Authority {
    pub(crate) fn new(pem: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let cert = cert.map_err(|error| refused(format!("the CA certificate is not PEM: {error}")))?;
            roots.add(cert).map_err(|error| refused(format!("the CA certificate cannot be used: {error}")))?;
        }
        if roots.is_empty() {
            return Err(refused("the node document holds no CA certificate"));
        }
        Ok(Self { roots: Arc::new(roots) })
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider).build()?)
    }

    /// Whether a certificate fits its key, comes from this authority, is valid now, covers all names as a server (an
    /// empty list: is not a server) and may act as a client too: etcd's servers and peers both do (etcd-io/etcd#9785).
    pub(crate) fn check(&self, pair: &KeyPair, names: &[String], now: UnixTime) -> Result<()> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect();
        let chain = chain.map_err(|error| refused(format!("it is not PEM: {error}")))?;
        let (leaf, intermediates) = chain.split_first().ok_or_else(|| refused("it is empty"))?;

        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|_| refused("its key is not PEM"))?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| {
            refused("its key is of a kind that cannot be used; ECDSA P-256, P-384, Ed25519 and RSA can")
        })?;
        let fits = CertifiedKey::new(chain.clone(), key).keys_match();
        fits.map_err(|_| refused("its key does not match: it belongs to another certificate"))?;

        let verifier = self.verifier().map_err(|error| refused(error.to_string()))?;
        let as_client = verifier.verify_client_cert(leaf, intermediates, now);
        as_client.map_err(|error| explain(&error, "a client", now))?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider).build();
        let verifier = verifier.map_err(|error| refused(error.to_string()))?;
        for name in names {
            let host = ServerName::try_from(name.clone()).map_err(|_| refused(format!("{name} is not a host")))?;
            let as_server = verifier.verify_server_cert(leaf, intermediates, &host, &[], now);
            as_server.map_err(|error| explain(&error, name, now))?;
        }
        Ok(())
    }
}

/// The verifier's answer, in an operator's words. Time mends one of them: a machine whose clock stood still while it was
/// off is set right soon after it starts.
fn explain(error: &rustls::Error, role: &str, now: UnixTime) -> anyhow::Error {
    let clock = || format!("this node's clock says {}; is it right (`chronyc tracking`)?", date(now));
    let rustls::Error::InvalidCertificate(reason) = error else { return refused(error.to_string()) };
    refused(match reason {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it expired on {}; {}", date(*not_after), clock())
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let ahead = not_before.as_secs().saturating_sub(now.as_secs());
            return not_ready(format!("it is valid from {} on, {ahead} s from now; {}", date(*not_before), clock()));
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it is not signed by the CA in the same document".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it does not cover {role}: its subject alternative names lack it")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("its extended key usage does not allow it to act as {role}")
        }
        other => format!("{other}"),
    })
}

/// A time as people write it.
pub(crate) fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let date = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    date.and_then(|date| date.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default()
}

/// The name by which a peer's certificate is told from a client's of the same CA. 3.4 and 3.5 take one name only, which all
/// peers must have in common (etcd-io/etcd#10614, client/pkg/transport/listener.go); ready certificates have no other.
pub(crate) const PEER: &str = "localhost";
