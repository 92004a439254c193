//! The HTTP client: its certificates, timeouts and user agent.

use std::error::Error;

use reqwest::blocking::{Client, ClientBuilder};

use super::error::ReleaseError;
use super::progress::Progress;
use super::retry_policy::RetryPolicy;

/// A client for mirrors. It honours the proxy environment (`HTTPS_PROXY`, `NO_PROXY`, …): the
/// builder runs on an operator's machine, where the proxy is the operator's own. (A client that
/// asks for metadata on a node must not honour it.)
pub(crate) fn client(
    patience: &RetryPolicy,
    progress: &dyn Progress,
) -> Result<Client, ReleaseError> {
    // The first caller installs it; an Err only means that it has already been installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let setup = || -> ClientBuilder {
        Client::builder()
            .user_agent(concat!("etcd-image-builder/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            // In the blocking client this timeout applies to the head of the answer, and then to
            // each read of the body: it detects a stall, but does not penalize a slow connection.
            .timeout(patience.stall)
    };
    setup().build().or_else(|error| {
        // The usual cause is that this machine has no CA certificates. Plain http mirrors need
        // none, since the digests protect the files; every https mirror then fails and is named in
        // the error.
        progress.say(&format!(
            "note: https mirrors cannot be used here ({}): install ca-certificates, or set SSL_CERT_FILE",
            causes(&error)
        ));
        setup().tls_certs_only([]).build().map_err(|error| ReleaseError::Client(causes(&error)))
    })
}

/// Returns the innermost cause: the outer ones ("error sending request") add nothing to the URL
/// that is shown next to them. The resolver's own text is a dump of its query (hickory-net 0.26,
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
