//! Configures TLS for the barrier's connections. These connections use the node's peer certificate,
//! which etcd uses later. As in etcd, both sides must present a peer certificate that the cluster's
//! CA signed. A client certificate is not enough. The connections use TLS 1.2 or later.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use recipes::node::NodeTls;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::certificates::PEER;

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn roots(tls: &NodeTls) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(tls.ca.as_bytes()) {
        roots
            .add(cert.context("the CA certificate is not PEM")?)
            .context("the CA certificate cannot be used")?;
    }
    Ok(roots)
}

fn peer(tls: &NodeTls) -> Result<Pair> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(tls.peer.cert.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(tls.peer.key.as_bytes());
    Ok((
        chain.context("the peer certificate is not PEM")?,
        key.ok().context("the peer certificate's key is not PEM")?,
    ))
}

/// A verifier that accepts only clients with a peer certificate.
#[derive(Debug)]
struct PeerCertVerifier(Arc<dyn ClientCertVerifier>);

impl PeerCertVerifier {
    fn of(tls: &NodeTls) -> Result<Arc<Self>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Arc::new(Self(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(tls)?), provider).build()?,
        )))
    }
}

impl ClientCertVerifier for PeerCertVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let name = ServerName::try_from(PEER).map_err(|error| Error::General(error.to_string()))?;
        verify_server_name(&ParsedCertificate::try_from(leaf)?, &name)?;
        self.0.verify_client_cert(leaf, intermediates, now)
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

pub(crate) fn server(tls: &NodeTls) -> Result<Arc<ServerConfig>> {
    let (chain, key) = peer(tls)?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(PeerCertVerifier::of(tls)?)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

pub(crate) fn client(tls: &NodeTls) -> Result<ClientConfig> {
    let (chain, key) = peer(tls)?;
    Ok(ClientConfig::builder()
        .with_root_certificates(roots(tls)?)
        .with_client_auth_cert(chain, key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_accepted_and_a_client_of_the_same_ca_is_refused() {
        let tls = crate::steps::test_identity().document_tls;
        let verifier = PeerCertVerifier::of(&tls).unwrap();
        let ask = |pair: &recipes::node::KeyPair| {
            let leaf = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
            verifier
                .verify_client_cert(&leaf, &[], UnixTime::now())
                .map(drop)
        };
        ask(&tls.peer).unwrap();
        assert!(
            ask(&tls.client)
                .unwrap_err()
                .to_string()
                .contains("not valid for name"),
            "{:?}",
            ask(&tls.client)
        );
        let stranger = crate::steps::test_identity().document_tls;
        ask(&stranger.peer).unwrap_err();
    }
}
