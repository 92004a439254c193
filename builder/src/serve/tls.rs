//! The certificate that the server presents, and the request for the certificate of a client.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use super::board::ClientCa;
use crate::text_file;

/// The maximum size of a certificate chain or a key.
const LIMIT: u64 = 1 << 20;

/// Builds a TLS acceptor from a certificate chain and its key, both in PEM. If authorities are
/// given, the acceptor requests a certificate of these authorities from each client. The handshake
/// succeeds with any certificate or none. The board verifies the certificate at each request.
pub(super) fn acceptor(cert: &Path, key: &Path, clients: Option<&ClientCa>) -> Result<TlsAcceptor> {
    let read = |path: &Path| {
        text_file::bytes(path, LIMIT).with_context(|| format!("cannot read {}", path.display()))
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} is not a certificate in PEM", cert.display()))?;
    let secret = PrivateKeyDer::from_pem_slice(&private(key)?);
    let secret = secret
        .ok()
        .with_context(|| format!("{} is not a private key in PEM", key.display()))?;
    let config = config(rustls::ALL_VERSIONS, chain, secret, clients)
        .with_context(|| format!("{} and {} do not match", cert.display(), key.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Builds a TLS acceptor with the key that signs the cluster's documents. Every image of the
/// cluster trusts this key. The acceptor supports only TLS 1.3. In TLS 1.3, a server signs data
/// that begins with 64 spaces and a text that names the purpose of the signature (RFC 8446, 4.4.3).
/// Therefore, the signature of a TLS handshake is never a valid signature of a document.
pub(super) fn of_signing_key(pkcs8: &[u8]) -> Result<TlsAcceptor> {
    let pair = rcgen::KeyPair::try_from(pkcs8)?;
    let cert = rcgen::CertificateParams::new(vec!["enrol".to_owned()])?.self_signed(&pair)?;
    let secret = PrivateKeyDer::Pkcs8(pkcs8.to_vec().into());
    let chain = vec![cert.der().clone()];
    let config = config(&[&rustls::version::TLS13], chain, secret, None)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn config(
    versions: &[&'static SupportedProtocolVersion],
    chain: Vec<CertificateDer<'static>>,
    secret: PrivateKeyDer<'static>,
    clients: Option<&ClientCa>,
) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = clients.map_or_else(WebPkiClientVerifier::no_client_auth, ClientCa::verifier);
    Ok(ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, secret)?)
}

/// Reads a secret file, but refuses a file whose mode gives access to users other than its owner.
pub(super) fn private(key: &Path) -> Result<Vec<u8>> {
    let context = || format!("cannot read {}", key.display());
    let mut file = text_file::open(key).with_context(context)?;
    let mode = file.metadata().with_context(context)?.permissions().mode() & 0o7777;
    let others = mode & 0o077;
    ensure!(
        others == 0,
        "{}: its mode is {mode:04o}, which gives access to users other than the owner. Run `chmod \
         {:o}` on the file; if others may have read it, replace the key and its \
         certificate, or the token",
        key.display(),
        mode & 0o700
    );
    let mut pem = Vec::new();
    file.by_ref()
        .take(LIMIT)
        .read_to_end(&mut pem)
        .with_context(context)?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_that_others_can_access_is_refused_before_it_is_used() {
        let root = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(["server".to_owned()]).unwrap();
        let [cert, key] = ["server.crt", "server.key"].map(|name| root.path().join(name));
        fs::write(&cert, pair.cert.pem()).unwrap();
        fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        for (mode, good) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o620, false),
        ] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            match acceptor(&cert, &key, None) {
                Ok(_) => assert!(good, "{mode:o}"),
                Err(error) => assert!(
                    !good && error.to_string().contains("chmod"),
                    "{mode:o}: {error}"
                ),
            }
        }
    }
}
