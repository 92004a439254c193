//! The HTTP client: its certificates, timeouts and user agent.

use std::error::Error;

use reqwest::blocking::{Client, ClientBuilder};

use super::error::ReleaseError;
use super::progress::Progress;
use super::retry_policy::RetryPolicy;

/// Creates a client for mirrors. The client honours the proxy variables (`HTTPS_PROXY`, `NO_PROXY`,
/// …), because the builder runs on an operator's machine, where the operator chose the proxy. In
/// contrast, a client that requests metadata on a node must not honour these variables.
pub(crate) fn client(
    patience: &RetryPolicy,
    progress: &dyn Progress,
) -> Result<Client, ReleaseError> {
    // The first caller installs the cryptography provider of the TLS library. An error means only
    // that a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let setup = || -> ClientBuilder {
        Client::builder()
            .user_agent(concat!("etcd-image-builder/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            // In the blocking client, this timeout applies to the head of the answer, and then to
            // each read of the body. The timeout detects a stalled connection, but does not abort a
            // slow connection.
            .timeout(patience.stall)
    };
    setup().build().or_else(|error| {
        // The client could not be created, usually because this machine has no CA certificates. The
        // second client trusts no CA, so every HTTPS mirror fails, and the error names the mirror.
        // Plain HTTP mirrors do not need CA certificates, because the digests protect the files.
        progress.say(&format!(
            "note: this machine cannot use HTTPS mirrors ({}): install ca-certificates, or set \
             SSL_CERT_FILE",
            causes(&error)
        ));
        setup()
            .tls_certs_only([])
            .build()
            .map_err(|error| ReleaseError::Client(causes(&error)))
    })
}

/// Returns the innermost cause. The outer causes, such as "error sending request", add no
/// information. If a host name cannot be resolved, this function returns its own text, because the
/// resolver's text is a dump of the query (hickory-net 0.26, `DnsError::NoRecordsFound`).
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut chain = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        chain.push(error.to_string());
        next = error.source();
    }
    if chain.iter().any(|text| text == "dns error") {
        return "its host name cannot be resolved; check the name and the name servers in \
            /etc/resolv.conf"
            .to_owned();
    }
    chain.pop().unwrap_or_default()
}
