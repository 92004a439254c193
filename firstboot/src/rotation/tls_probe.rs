//! Determines from a TLS handshake which CAs a running etcd trusts and which CA signed the
//! certificate that it presents. A server that requests a client certificate can name the CAs that
//! it accepts (RFC 8446, 4.2.4; RFC 5246, 7.4.4), and Go names all CAs that it has loaded
//! (crypto/tls, ClientCAs). The handshake is the only reliable evidence, because the files on the
//! member's disk may have changed since etcd read them.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use recipes::node::NodeTls;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::trust_bundle::TrustBundle;
use crate::domain::CaSubject;

/// The time limit for a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The CAs that a server trusts, and the issuer of the certificate that it presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServedCertificate {
    pub(super) trusts: BTreeSet<CaSubject>,
    pub(super) issuer: CaSubject,
}

/// A resolver that presents the node's peer certificate, and records the CAs that the server names.
#[derive(Debug)]
struct CaHintRecorder {
    own: Arc<CertifiedKey>,
    heard: Mutex<BTreeSet<CaSubject>>,
}

impl ResolvesClientCert for CaHintRecorder {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        _: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let names = root_hint_subjects
            .iter()
            .map(|der| CaSubject::new(der))
            .collect();
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = names;
        Some(self.own.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Performs a handshake with the server at this address, with the peer certificate of `tls`.
/// Returns the CAs that the server trusts, and the CA in `authorities` that issued its certificate.
pub(super) async fn probe(
    address: SocketAddr,
    tls: &NodeTls,
    authorities: &TrustBundle,
) -> Result<ServedCertificate> {
    let (trusts, connected) = connect(address, tls, authorities).await?;
    let stream = connected.with_context(|| format!("the TLS handshake with {address} failed"))?;
    ensure!(
        !trusts.is_empty(),
        "{address} did not send the names of the CAs that it trusts"
    );
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let issuer = chain
        .split_first()
        .and_then(|(leaf, intermediates)| authorities.issuer(leaf, intermediates));
    let issuer = issuer
        .with_context(|| format!("{address} presents a certificate that no known CA signed"))?;
    Ok(ServedCertificate { trusts, issuer })
}

/// Returns the certificate, in DER, that the server at this address presents, or `None` if no
/// server listens at the address.
pub(super) async fn presented(
    address: SocketAddr,
    tls: &NodeTls,
    authorities: &TrustBundle,
) -> Result<Option<Vec<u8>>> {
    let (_, connected) = connect(address, tls, authorities).await?;
    let stream = match connected {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        connected => {
            connected.with_context(|| format!("the TLS handshake with {address} failed"))?
        }
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.first().map(|leaf| leaf.to_vec()))
}

/// Returns the CAs whose certificates the server at this address accepts. Unlike `probe`, this
/// function also works with a server that rejects the peer certificate of `tls`. In TLS 1.2, which
/// etcd uses if cipher suites are configured, the rejection aborts the handshake.
pub(super) async fn trusted(
    address: SocketAddr,
    tls: &NodeTls,
    authorities: &TrustBundle,
) -> Result<BTreeSet<CaSubject>> {
    let (trusts, connected) = connect(address, tls, authorities).await?;
    if let Err(error) = connected {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        ensure!(
            matches!(cause, Some(rustls::Error::AlertReceived(_))),
            "the TLS handshake with {address} failed: {error}"
        );
    }
    ensure!(
        !trusts.is_empty(),
        "{address} did not send the names of the CAs that it trusts"
    );
    Ok(trusts)
}

/// Returns the CAs that a server names in its handshake, and the result of the handshake.
async fn connect(
    address: SocketAddr,
    tls: &NodeTls,
    authorities: &TrustBundle,
) -> Result<(BTreeSet<CaSubject>, io::Result<TlsStream<TcpStream>>)> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities.certificates() {
        roots.add(certificate.clone())?;
    }
    let chain =
        CertificateDer::pem_slice_iter(tls.peer.cert.as_bytes()).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(tls.peer.key.as_bytes())
        .ok()
        .context("the key of the peer certificate is not PEM")?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
    let own = Arc::new(CertifiedKey::new(
        chain.context("the peer certificate is not PEM")?,
        key,
    ));
    let recorder = Arc::new(CaHintRecorder {
        own,
        heard: Mutex::default(),
    });
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_cert_resolver(recorder.clone());
    // In a resumed session, a server does not name any CAs.
    config.resumption = Resumption::disabled();
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::from(address.ip()), stream)
            .await
    };
    let connected = tokio::time::timeout(HANDSHAKE_TIMEOUT, connect).await;
    let connected = connected.with_context(|| {
        format!(
            "the TLS handshake with {address} did not finish within {} s",
            HANDSHAKE_TIMEOUT.as_secs()
        )
    })?;
    let trusts = recorder
        .heard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Ok((trusts, connected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::peer_tls;
    use crate::steps::test_identity;

    #[test]
    fn a_server_names_the_cas_it_trusts_and_presents_a_certificate_of_a_known_ca() {
        let (tls, other) = (test_identity().tls, test_identity().tls);
        let served = NodeTls {
            ca: format!("{}{}", tls.ca, other.ca),
            ..tls.clone()
        };
        let known = TrustBundle::read(&tls.ca).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let shown = |served: &NodeTls| {
            runtime.block_on(async {
                let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = socket.local_addr().unwrap();
                let acceptor = tokio_rustls::TlsAcceptor::from(peer_tls::server(served).unwrap());
                let serve = async { acceptor.accept(socket.accept().await.unwrap().0).await };
                tokio::join!(probe(address, &tls, &known), serve).0
            })
        };
        let both = TrustBundle::read(&served.ca).unwrap().names();
        assert_eq!(
            shown(&served).unwrap(),
            ServedCertificate {
                trusts: both,
                issuer: known.names().pop_first().unwrap()
            }
        );
        assert!(
            shown(&other).is_err(),
            "a certificate from an unknown CA must be refused"
        );
    }

    #[test]
    fn a_server_that_rejects_the_certificate_names_the_cas_it_trusts() {
        let (old, new) = (test_identity().tls, test_identity().tls);
        let both = TrustBundle::read(&format!("{}{}", old.ca, new.ca)).unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let (known, seen) = runtime.block_on(async {
                let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = socket.local_addr().unwrap();
                let acceptor = tokio_rustls::TlsAcceptor::from(server(&new, version));
                let serve = async {
                    acceptor
                        .accept(socket.accept().await.unwrap().0)
                        .await
                        .map(drop)
                };
                let (known, ended) = tokio::join!(trusted(address, &old, &both), serve);
                assert!(ended.is_err(), "the certificate is accepted");
                let (seen, _) = tokio::join!(probe(address, &old, &both), async {
                    acceptor
                        .accept(socket.accept().await.unwrap().0)
                        .await
                        .map(drop)
                });
                (known, seen)
            });
            assert_eq!(known.unwrap(), TrustBundle::read(&new.ca).unwrap().names());
            assert_eq!(
                seen.is_ok(),
                version == &rustls::version::TLS13,
                "only TLS 1.3 completes the handshake before it rejects the certificate"
            );
        }
    }

    /// Returns a server that supports only this version of TLS, and accepts only certificates of
    /// the CA of `tls`.
    fn server(
        tls: &NodeTls,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in TrustBundle::read(&tls.ca).unwrap().certificates() {
            roots.add(certificate.clone()).unwrap();
        }
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            roots.into(),
            provider.clone(),
        );
        let chain = CertificateDer::pem_slice_iter(tls.peer.cert.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(tls.peer.key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap();
        let config = config.with_client_cert_verifier(verifier.build().unwrap());
        Arc::new(config.with_single_cert(chain, key).unwrap())
    }
}
