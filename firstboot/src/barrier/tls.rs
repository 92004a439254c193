//! The peer certificate in use before etcd uses it: both sides show one of the cluster's CA, TLS 1.2 at least (rustls
//! knows nothing older).

use std::sync::Arc;

use anyhow::{Context as _, Result};
use recipes::node::NodeTls;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn roots(tls: &NodeTls) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(tls.ca.as_bytes()) {
        roots.add(cert.context("the CA certificate is no PEM")?).context("the CA certificate cannot be used")?;
    }
    Ok(roots)
}

fn peer(tls: &NodeTls) -> Result<Pair> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(tls.peer.cert.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(tls.peer.key.as_bytes());
    Ok((chain.context("the peer certificate is no PEM")?, key.ok().context("the peer certificate's key is no PEM")?))
}

/// For the side that is asked.
pub(crate) fn server(tls: &NodeTls) -> Result<Arc<ServerConfig>> {
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots(tls)?)).build()?;
    let (chain, key) = peer(tls)?;
    let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// For the side that asks.
pub(crate) fn client(tls: &NodeTls) -> Result<ClientConfig> {
    let (chain, key) = peer(tls)?;
    Ok(ClientConfig::builder().with_root_certificates(roots(tls)?).with_client_auth_cert(chain, key)?)
}
