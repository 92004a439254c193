//! The client certificate, its key and the CAs with which a program connects to etcd.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// The time limit for a TCP connection and its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// A client certificate with its key, and the CAs that sign the members' certificates.
#[derive(Clone)]
pub struct Credentials {
    tonic: ClientTlsConfig,
    ca: Arc<[u8]>,
    cert: Arc<[u8]>,
    key: Arc<[u8]>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Omit the key, which is a secret.
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Creates credentials from PEM text.
    pub fn new(ca: &[u8], cert: &[u8], key: &[u8]) -> Self {
        let tonic = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .identity(Identity::from_pem(cert, key));
        Self {
            tonic,
            ca: ca.into(),
            cert: cert.into(),
            key: key.into(),
        }
    }

    pub(super) fn tonic(&self) -> ClientTlsConfig {
        self.tonic.clone()
    }

    /// Returns the start and the end of the validity of the certificate that a server presents in a
    /// TLS handshake.
    ///
    /// # Errors
    /// Fails if the credentials cannot be used, or if the handshake fails, for example because no
    /// trusted CA signed the server's certificate, or because the certificate has expired.
    pub async fn served_validity(&self, address: SocketAddr) -> Result<(UnixTime, UnixTime)> {
        let roots = self.roots()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<Vec<_>, _>>()
            .context("the client certificate is not PEM")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .ok()
            .context("the key of the client certificate is not PEM")?;
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain, key)?;
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            TlsConnector::from(Arc::new(config))
                .connect(ServerName::from(address.ip()), stream)
                .await
        };
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, connect)
            .await
            .with_context(|| {
                format!(
                    "the TLS handshake with {address} was not complete within {} s",
                    HANDSHAKE_TIMEOUT.as_secs()
                )
            })?
            .with_context(|| format!("the TLS handshake with {address} failed"))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let (leaf, intermediates) = chain
            .split_first()
            .with_context(|| format!("{address} does not present a certificate"))?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        // Verify the certificate at the earliest and at the latest possible time, because the
        // verifier's errors then contain the start and the end of the validity. The latest time is
        // one second after the last second that a certificate can name (RFC 5280, 4.1.2.5).
        let name = ServerName::from(address.ip());
        let at = |seconds| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            verifier.verify_server_cert(leaf, intermediates, &name, &[], time)
        };
        let until = match at(253_402_300_800) {
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after,
                ..
            })) => not_after,
            Err(error) => return Err(error.into()),
            Ok(_) => bail!("the certificate of {address} does not expire"),
        };
        let from = match at(0) {
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            })) => not_before,
            Err(error) => return Err(error.into()),
            Ok(_) => UnixTime::since_unix_epoch(Duration::ZERO),
        };
        Ok((from, until))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.ca) {
            roots.add(certificate.context("the CA's certificate is not PEM")?)?;
        }
        Ok(roots)
    }
}
