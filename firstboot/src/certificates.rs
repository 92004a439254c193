//! Checks certificates against the rules that etcd and its peers apply, and reads their validity.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use recipes::node::{DocumentCertificate, KeyPair, NodeTls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};

pub(crate) use members::timestamp::date;

use crate::exit::not_ready;
use crate::reason::ReasonId;

fn refused(why: impl Into<String>) -> anyhow::Error {
    crate::exit::refused(ReasonId::CertificateRefused.because(why))
}

/// Returns the time from which the newest of a node's certificates is valid.
///
/// # Errors
/// Fails if a certificate cannot be read, or if its signer is not the node's CA.
pub(crate) fn newest_not_before(tls: &NodeTls<DocumentCertificate>) -> Result<UnixTime> {
    let newest = tls.pairs().map(|pair| not_before(&pair.cert, &tls.ca));
    newest.into_iter().try_fold(
        UnixTime::since_unix_epoch(Duration::ZERO),
        |newest, from| Ok(newest.max(from?)),
    )
}

/// Returns the time from which a certificate is valid. The function verifies the certificate for a
/// time in 1970, because the verifier's error then contains the start of the validity.
fn not_before(cert: &str, ca: &str) -> Result<UnixTime> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<_, _>>()?;
    let (leaf, intermediates) = chain.split_first().context("there is no certificate")?;
    let beginning = UnixTime::since_unix_epoch(Duration::ZERO);
    match Authority::new(ca)?
        .verifier()?
        .verify_client_cert(leaf, intermediates, beginning)
    {
        Ok(_) => Ok(beginning),
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before,
            ..
        })) => Ok(not_before),
        Err(error) => Err(error.into()),
    }
}

/// Returns the time at which the first of a node's certificates expires, and whether at most a
/// third of that certificate's lifetime is left at the time `now`.
///
/// # Errors
/// Fails if a certificate cannot be read, or if its signer is not the node's CA.
pub(crate) fn expiry(
    tls: &NodeTls<DocumentCertificate>,
    now: UnixTime,
) -> Result<(UnixTime, bool)> {
    let mut first: Option<(UnixTime, UnixTime)> = None;
    for pair in tls.pairs() {
        let until =
            not_after(pair, &tls.ca).context("cannot determine when a certificate expires")?;
        if first.is_none_or(|(_, earliest)| until < earliest) {
            first = Some((not_before(&pair.cert, &tls.ca)?, until));
        }
    }
    let (from, until) = first.context("there is no certificate")?;
    Ok((until, is_due(from, until, now)))
}

/// Returns whether at most a third of a certificate's lifetime is left.
fn is_due(from: UnixTime, until: UnixTime, now: UnixTime) -> bool {
    let left = until.as_secs().saturating_sub(now.as_secs());
    left * 3 <= until.as_secs().saturating_sub(from.as_secs())
}

/// Returns the time until which a certificate is valid, or `None` if the certificate cannot be
/// parsed or none of the CAs signed it. The function verifies the certificate as of the latest
/// possible time, because the verifier's error then contains the end of the validity.
pub(crate) fn not_after(pair: &DocumentCertificate, ca: &str) -> Option<UnixTime> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pair.cert.as_bytes())
        .collect::<Result<_, _>>()
        .ok()?;
    let (leaf, intermediates) = chain.split_first()?;
    // The latest possible time is one second after the last second that a certificate can name (RFC
    // 5280, 4.1.2.5).
    let end = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_800));
    match Authority::new(ca)
        .ok()?
        .verifier()
        .ok()?
        .verify_client_cert(leaf, intermediates, end)
    {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after,
            ..
        })) => Some(not_after),
        _ => None,
    }
}

/// A set of CAs. A certificate is accepted if any of these CAs has signed it.
pub(crate) struct Authority {
    roots: Arc<RootCertStore>,
}

impl Authority {
    pub(crate) fn new(pem: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let cert =
                cert.map_err(|error| refused(format!("the CA certificate is not PEM: {error}")))?;
            roots
                .add(cert)
                .map_err(|error| refused(format!("the CA certificate cannot be used: {error}")))?;
        }
        if roots.is_empty() {
            return Err(refused(
                "the node document does not contain a CA certificate",
            ));
        }
        Ok(Self {
            roots: Arc::new(roots),
        })
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider).build()?)
    }

    /// Checks that a certificate matches its key, that this authority has signed it, and that it is
    /// valid now as a client certificate. The certificate must also be valid as a server
    /// certificate for each name in `names`, which may be empty. etcd uses its server and peer
    /// certificates in both roles (etcd-io/etcd#9785).
    pub(crate) fn check(&self, pair: &KeyPair, names: &[String], now: UnixTime) -> Result<()> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect();
        let chain = chain.map_err(|error| refused(format!("it is not PEM: {error}")))?;
        let (leaf, intermediates) = chain.split_first().ok_or_else(|| refused("it is empty"))?;

        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
            .map_err(|_| refused("its key is not PEM"))?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| {
            refused("its key has an unsupported type. Use ECDSA P-256 or P-384, Ed25519 or RSA")
        })?;
        let fits = CertifiedKey::new(chain.clone(), key).keys_match();
        fits.map_err(|_| {
            refused("its key does not match: the key belongs to another certificate")
        })?;

        let verifier = self
            .verifier()
            .map_err(|error| refused(error.to_string()))?;
        let as_client = verifier.verify_client_cert(leaf, intermediates, now);
        as_client.map_err(|error| explain(&error, "a client", now))?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider).build();
        let verifier = verifier.map_err(|error| refused(error.to_string()))?;
        for name in names {
            let host = ServerName::try_from(name.clone())
                .map_err(|_| refused(format!("{name} is not a host name or address")))?;
            let as_server = verifier.verify_server_cert(leaf, intermediates, &host, &[], now);
            as_server.map_err(|error| explain(&error, name, now))?;
        }
        Ok(())
    }
}

/// Describes the verifier's error for the operator. For a certificate that has expired or is not
/// valid yet, firstboot tries again instead of refusing, because the clock of a machine that was
/// off may be wrong until chrony corrects it.
fn explain(error: &rustls::Error, role: &str, now: UnixTime) -> anyhow::Error {
    let clock = || {
        format!(
            "this node's clock shows {}. Check the clock with `chronyc tracking`",
            date(now)
        )
    };
    let rustls::Error::InvalidCertificate(reason) = error else {
        return refused(error.to_string());
    };
    refused(match reason {
        CertificateError::ExpiredContext { not_after, .. } => {
            let text = format!("it expired on {}; {}", date(*not_after), clock());
            return not_ready(ReasonId::CertificateExpired.because(text));
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let ahead = not_before.as_secs().saturating_sub(now.as_secs());
            let text = format!(
                "it is valid from {}, {ahead} s from now; {}",
                date(*not_before),
                clock()
            );
            return not_ready(ReasonId::CertificateNotYetValid.because(text));
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the CA in the same document did not sign it".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{role} is not among its subject alternative names")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("its extended key usage does not allow its use for {role}")
        }
        other => format!("{other}"),
    })
}

/// The name that distinguishes peer certificates from client certificates of the same CA. etcd 3.4
/// and 3.5 accept only one required name for all peers (etcd-io/etcd#10614,
/// client/pkg/transport/listener.go), and `localhost` is the only name that all peer certificates
/// of a cluster have in common.
pub(crate) const PEER: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::test_identity_from;

    #[test]
    fn a_renewal_is_due_when_a_third_of_the_lifetime_is_left() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let due = |now| is_due(at(1000), at(1900), at(now));
        assert!(!due(1000) && !due(1599));
        assert!(due(1600) && due(1900) && due(5000));
        assert!(!due(0), "the clock was set back");
    }

    #[test]
    fn the_first_certificate_to_expire_decides() {
        let (old, new) = (
            test_identity_from(2020).node.tls,
            test_identity_from(2025).node.tls,
        );
        let until = |tls| expiry(tls, UnixTime::now()).unwrap().0;
        assert_eq!(until(&new), not_after(&new.server, &new.ca).unwrap());
        let mixed = NodeTls {
            ca: format!("{}{}", new.ca, old.ca),
            client: old.client.clone(),
            ..new.clone()
        };
        let first = [&new.server, &old.client].map(|pair| not_after(pair, &mixed.ca).unwrap());
        assert_eq!(until(&mixed), *first.iter().min().unwrap());
    }
}
