//! Checks whether etcd on this node presents the installed certificates. etcd reads its
//! certificates at each handshake, so firstboot probes the ports instead of relying on the files.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::tls_probe::presented;
use super::trust_bundle::TrustBundle;
use crate::exit::not_ready;
use crate::identity::Identity;
use crate::paths;
use crate::reason::ReasonId;
use crate::runtime::block_on;

/// Checks the ports of etcd on this node. Returns whether etcd listens on both ports.
///
/// # Errors
/// Returns a "not ready" error if a port presents a certificate other than the installed one, or if
/// a TLS handshake fails. A handshake fails, for example, if the presented certificate is unusable.
pub(crate) fn check_presented(identity: &Identity) -> Result<bool> {
    block_on(check(identity)).map_err(|error| {
        not_ready(ReasonId::CertificateNotPresented.because(format!(
            "etcd on this node does not present its installed certificate: {error:#}"
        )))
    })
}

async fn check(identity: &Identity) -> Result<bool> {
    let known = TrustBundle::read(&identity.tls.ca)?;
    let own = &identity.node.address;
    let ports = [
        (
            SocketAddr::from((Ipv4Addr::LOCALHOST, paths::CLIENT_PORT)),
            &identity.tls.server,
        ),
        (
            SocketAddr::from((*own, paths::PEER_PORT)),
            &identity.tls.peer,
        ),
    ];
    let mut listens = true;
    for (port, pair) in ports {
        let wanted = CertificateDer::from_pem_slice(pair.cert.as_bytes())
            .context("the installed certificate is not PEM")?;
        match presented(port, &identity.tls, &known).await? {
            None => listens = false,
            Some(found) if found == wanted.as_ref() => {}
            Some(_) => anyhow::bail!("port {} presents another certificate", port.port()),
        }
    }
    Ok(listens)
}
