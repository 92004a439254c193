//! Provides the HTTP client of the metadata sources. The client does not use a proxy, because a
//! metadata service answers a request from a proxy with the document of the proxy's machine. The
//! client does not follow redirects, because a server could redirect the client to any address.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode, Url};

use super::document::LIMIT;
use crate::http_client;

#[derive(Debug)]
pub(super) enum HttpError {
    /// Another attempt may succeed.
    Again(anyhow::Error),
    /// Another attempt would have the same result.
    Final(anyhow::Error),
}

impl From<std::io::Error> for HttpError {
    fn from(error: std::io::Error) -> Self {
        Self::Final(error.into())
    }
}

/// A server's answer with any status.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Returns the settings that all clients of this module share.
pub(super) fn builder(url: &Url) -> ClientBuilder {
    http_client::builder(url)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(20))
}

/// Returns a client for metadata from the server with this URL.
pub(crate) fn client(url: &Url) -> Result<Client> {
    match builder(url).build() {
        Ok(client) => Ok(client),
        Err(error) => bail!("cannot create an HTTP client: {error}"),
    }
}

/// Sends a request and reads the answer. Fails if the answer is larger than the size limit of a
/// node document. `origin` identifies the server in error messages.
pub(super) async fn send(request: RequestBuilder, origin: &str) -> Result<Reply, HttpError> {
    // Omit the URL from the error, because the URL's query may contain the machine's identifiers.
    let again = |error: reqwest::Error| HttpError::Again(anyhow::Error::from(error.without_url()));
    let mut response = request.send().await.map_err(again)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(again)? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > LIMIT {
            return Err(HttpError::Final(anyhow!(
                "{origin} sent more than {LIMIT} bytes"
            )));
        }
    }
    Ok(Reply {
        status,
        headers,
        body,
    })
}

impl Reply {
    /// Returns the body of an answer whose status is 200 to 299.
    ///
    /// # Errors
    /// Fails for any other status, with the server's own message. Another attempt may succeed after
    /// a server error, after "request timeout", after "too many requests", and after the statuses
    /// in `passing`.
    pub(super) fn success(
        self,
        origin: &str,
        passing: &[StatusCode],
    ) -> Result<Vec<u8>, HttpError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let error = self.error(origin);
        let overloaded = matches!(
            self.status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
        let passes = self.status.is_server_error() || overloaded || passing.contains(&self.status);
        Err(if passes {
            HttpError::Again(error)
        } else {
            HttpError::Final(error)
        })
    }

    /// Returns the error for an answer with an unexpected status.
    pub(super) fn error(&self, origin: &str) -> anyhow::Error {
        let to = if self.status.is_redirection() {
            ", a redirect, which firstboot does not follow"
        } else {
            ""
        };
        anyhow!("{origin} answered {}{to}{}", self.status, self.reason())
    }

    /// Returns the beginning of the server's own message, if the message is a line of plain text.
    fn reason(&self) -> String {
        const REASON: usize = 400;
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(REASON)])
            .trim()
            .to_owned();
        let is_plain =
            !text.is_empty() && !text.starts_with(['<', '{']) && !text.contains(char::is_control);
        if is_plain {
            format!(": {text}")
        } else {
            String::new()
        }
    }
}
