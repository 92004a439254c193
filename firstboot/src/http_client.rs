//! Creates the HTTP clients for metadata services and for the URLs in a recipe or a command-line
//! option.

use std::time::Duration;

use reqwest::{Client, ClientBuilder};
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the settings of a client for one URL. The client uses no proxy.
///
/// A client for an HTTP URL does not need the system's CAs. Such a client does not load them,
/// because loading them takes several milliseconds of CPU time.
pub(crate) fn builder(url: &Url) -> ClientBuilder {
    let builder = Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT);
    if url.scheme() == "http" {
        builder.tls_certs_only([])
    } else {
        builder
    }
}
