//! Requests certificates for this node's own keys from `builder serve --pki`. The server proves
//! that it holds the key that signs the node documents. Therefore, firstboot does not need a CA
//! certificate to verify the server. The answer is a signed node document, like the answers of all
//! other sources.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use recipes::PublicKey;
use reqwest::{Client, StatusCode, Url};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::document::FoundDocument;
use super::http::{HttpError, builder, send};
use super::source::RETRY_PAUSES;
use crate::exit::{not_ready, refused};
use crate::machine::Machine;
use crate::output::say;
use crate::reason::ReasonId;
use crate::runtime::block_on;

/// Sends a request for certificates to the server at the URL `base`, which ends with a slash.
/// Repeats the request while the server does not answer or is waiting for an operator.
///
/// # Errors
/// Returns a "not ready" error after the last attempt, and a refusal if the server refuses the
/// request.
pub(crate) fn enrol(
    base: &Url,
    machine: &Machine,
    request: &str,
    signing_key: &PublicKey,
) -> Result<FoundDocument> {
    let server = Server::of(base, machine, signing_key)?;
    block_on(server.patiently(request))
}

/// Sends a request for certificates once.
///
/// # Errors
/// Returns a "not ready" error if the server does not answer or is waiting for an operator, and a
/// refusal if the server refuses the request.
pub(crate) fn enrol_once(
    base: &Url,
    machine: &Machine,
    request: &str,
    signing_key: &PublicKey,
) -> Result<FoundDocument> {
    let server = Server::of(base, machine, signing_key)?;
    let answer = block_on(server.ask(request));
    answer.map_err(|error| match error {
        HttpError::Again(error) => not_ready(format!("{error:#}")),
        HttpError::Final(error) => refusal(&error),
    })
}

fn refusal(error: &anyhow::Error) -> anyhow::Error {
    refused(ReasonId::EnrolmentRefused.because(format!("{error:#}")))
}

struct Server {
    client: Client,
    url: Url,
    /// The URL that messages show, without the query, because the query contains the machine's
    /// identifiers.
    origin: String,
}

impl Server {
    fn of(base: &Url, machine: &Machine, signing_key: &PublicKey) -> Result<Self> {
        let mut url = base
            .join("enrol")
            .with_context(|| format!("{base} is not the URL of a folder"))?;
        let origin = url.to_string();
        url.query_pairs_mut().extend_pairs(machine.describe());
        let client = pinned(signing_key, &url)?;
        Ok(Self {
            client,
            url,
            origin,
        })
    }

    async fn ask(&self, request: &str) -> Result<FoundDocument, HttpError> {
        let post = self.client.post(self.url.clone()).body(request.to_owned());
        // Repeat the request after a 404, because the next build may add this machine.
        let bytes = send(post, &self.origin)
            .await?
            .success(&self.origin, &[StatusCode::NOT_FOUND])?;
        FoundDocument::parse(self.origin.clone(), &bytes).map_err(HttpError::Final)
    }

    async fn patiently(&self, request: &str) -> Result<FoundDocument> {
        let mut last = String::new();
        for pause in RETRY_PAUSES {
            match self.ask(request).await {
                Ok(found) => return Ok(found),
                Err(HttpError::Final(error)) => return Err(refusal(&error)),
                Err(HttpError::Again(error)) => {
                    last = format!("waiting for certificates: {error:#}");
                }
            }
            say(&last);
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        Err(not_ready(last))
    }
}

/// Returns a client for this URL that accepts only a server with this key.
fn pinned(key: &PublicKey, url: &Url) -> Result<Client> {
    let provider = Arc::new(ring::default_provider());
    let verifier = PinnedServer {
        key: key.subject_public_key_info(),
        provider: provider.clone(),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let client = builder(url).tls_backend_preconfigured(config).build();
    client.context("cannot create an HTTPS client")
}

/// A verifier that accepts only the server with this key, regardless of the rest of the server's
/// certificate.
#[derive(Debug)]
struct PinnedServer {
    key: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        if key.as_ref() == self.key {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(
            "the server's certificate does not have the key that this image trusts".to_owned(),
        ))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(
            "the server must use TLS 1.3".to_owned(),
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests;
