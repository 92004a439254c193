//! The HTTP client: its certificates, its timeouts, its name.

use std::error::Error;

use reqwest::blocking::{Client, ClientBuilder};

use super::error::ReleaseError;
use super::patience::Patience;
use super::progress::Progress;

/// A client for mirrors. The proxy environment (`HTTPS_PROXY`, `NO_PROXY`, …) is honoured: the
/// builder runs on an operator's machine, where a proxy is the operator's own. (On a node, asking
/// for metadata, it must not be.)
pub(crate) fn client(patience: &Patience, progress: &dyn Progress) -> Result<Client, ReleaseError> {
    // Whoever comes first installs it; an Err says only that it is done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let setup = || -> ClientBuilder {
        Client::builder()
            .user_agent(concat!("etcd-image-builder/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            // In the blocking client this is the time for the answer's head, then for each read of
            // the body: a stall timeout, which does not punish a slow line.
            .timeout(patience.stall)
    };
    setup().build().or_else(|error| {
        // The usual cause: no certificates on this machine. Plain http mirrors need none, the
        // digests protect them, and https ones then fail by name.
        progress.say(&format!(
            "note: https mirrors cannot be used here ({}): install ca-certificates, or set SSL_CERT_FILE",
            causes(&error)
        ));
        setup().tls_certs_only([]).build().map_err(|error| ReleaseError::Client(causes(&error)))
    })
}

/// The innermost cause: the outer ones ("error sending request") say nothing that the URL beside
/// them does not. The resolver's own text is a dump of its query (hickory-net 0.26,
/// `DnsError::NoRecordsFound`).
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut chain = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        chain.push(error.to_string());
        next = error.source();
    }
    if chain.iter().any(|text| text == "dns error") {
        return "its host name cannot be resolved; check the name, and the name servers in /etc/resolv.conf".to_owned();
    }
    chain.pop().unwrap_or_default()
}
