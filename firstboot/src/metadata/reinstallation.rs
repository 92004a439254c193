//! Sends the requests about a reinstallation of this machine to `builder serve`. Each request
//! contains the digest of the node's document, which proves to the server which node sends the
//! request.

use anyhow::Result;
use recipes::Sha256;
use recipes::reinstallation::{
    DOCUMENT_FIELD, IMAGE_FIELD, REINSTALL_PAGE, REQUEST_FIELD, ReinstallAnswer, ReinstallRequest,
};
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;

use super::http::{HttpError, client, send};
use super::url::{address, origin_of};
use crate::exit::{not_ready, refused};
use crate::machine::Machine;
use crate::reason::ReasonId;
use crate::runtime::block_on;

/// The server that installs this machine, and the data that this node sends to the server.
#[derive(Debug)]
pub(crate) struct InstallServer<'a> {
    /// The URL of the server's folder.
    pub(crate) url: &'a Url,
    pub(crate) machine: &'a Machine,
    /// The digest of this node's document.
    pub(crate) document: Sha256,
    /// The digest of the image that the server must install.
    pub(crate) image: Sha256,
}

impl InstallServer<'_> {
    /// Sends a request once.
    ///
    /// # Errors
    /// Returns a "not ready" error if the server does not answer or cannot answer now, and a
    /// refusal if the server refuses the request.
    pub(crate) fn ask(&self, request: ReinstallRequest) -> Result<ReinstallAnswer> {
        let url = address(self.url, REINSTALL_PAGE, self.machine)?;
        let origin = origin_of(&url);
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair(REQUEST_FIELD, request.as_str())
            .append_pair(DOCUMENT_FIELD, &self.document.to_string())
            .append_pair(IMAGE_FIELD, &self.image.to_string())
            .finish();
        let post = client(&url)?
            .post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let answer = block_on(async { send(post, &origin).await?.success(&origin, &[]) });
        let failed = |error: anyhow::Error| {
            refused(ReasonId::UpdateInstallRefused.because(format!(
                "the server refuses to install this machine again: {error:#}"
            )))
        };
        match answer {
            Ok(answer) => serde_json::from_slice(&answer).map_err(|error| {
                failed(
                    anyhow::Error::from(error)
                        .context(format!("{origin} does not answer like `builder serve`")),
                )
            }),
            Err(HttpError::Again(error)) => Err(not_ready(format!("{origin}: {error:#}"))),
            Err(HttpError::Final(error)) => Err(failed(error)),
        }
    }
}
