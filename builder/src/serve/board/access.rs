//! Decides who may view the board: any user on the server's own host, and users on other hosts who
//! have the token or a client certificate that an accepted CA issued.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use recipes::Sha256;
use rustls::pki_types::UnixTime;

use super::client_ca::ClientCa;
use crate::serve::client_request::ClientRequest;
use crate::serve::refusal::{Refusal, RefusalId};
use crate::serve::tls::private;

/// The minimum length of a token. Shorter tokens can be guessed.
const MIN_TOKEN_CHARS: usize = 16;

/// The access rule.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// The digest of the token. The server compares digests, so that the duration of a comparison
    /// reveals nothing about the token.
    pub(super) token: Option<Sha256>,
    /// The authorities whose client certificates are accepted.
    pub(super) ca: Option<ClientCa>,
}

/// The answer to a request that is denied.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) refusal: Refusal,
    /// The header that makes a browser ask the user for the token.
    pub(super) challenge: Option<(HeaderName, HeaderValue)>,
}

impl Access {
    /// Reads the authorities from their file, and the token from a file that only its owner can
    /// read.
    pub(super) fn read(token: Option<&Path>, ca: Option<&Path>) -> Result<Self> {
        let ca = ca.map(ClientCa::read).transpose()?;
        let Some(path) = token else {
            return Ok(Self { token: None, ca });
        };
        let text = String::from_utf8(private(path)?)
            .ok()
            .with_context(|| format!("{} is not text", path.display()))?;
        let token = text.trim();
        ensure!(
            token.len() >= MIN_TOKEN_CHARS && token.chars().all(|c| c.is_ascii_graphic()),
            "{}: expected one line with at least {MIN_TOKEN_CHARS} printable characters and no \
             space. Create a token with `openssl rand -hex 16`",
            path.display()
        );
        Ok(Self {
            ca,
            ..Self::of(token)
        })
    }

    pub(super) fn of(token: &str) -> Self {
        Self {
            token: Some(Sha256::of(token.as_bytes())),
            ca: None,
        }
    }

    pub(super) fn check(&self, request: &ClientRequest) -> Result<(), Denied> {
        if is_local(request) || self.has_token(request) {
            return Ok(());
        }
        let certificate = match &self.ca {
            None => Err(None),
            Some(ca) => ca
                .verify(&request.certificates, UnixTime::now())
                .map_err(Some),
        };
        match certificate {
            Ok(()) => Ok(()),
            Err(Some(why)) if self.token.is_none() || !request.certificates.is_empty() => {
                Err(Denied::because(Refusal::forbidden(
                    RefusalId::BoardCertificate,
                    format!(
                        "the board requires a client certificate, over HTTPS: {why}. `builder pki \
                         client NAME` issues one"
                    ),
                )))
            }
            Err(_) if self.token.is_some() => Err(Denied {
                challenge: Some((
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"etcd-image board\", charset=\"UTF-8\""),
                )),
                refusal: Refusal {
                    id: RefusalId::BoardToken,
                    status: StatusCode::UNAUTHORIZED,
                    why: "the board requires its token, as a password with any user name, or as a \
                        bearer token"
                        .to_owned(),
                },
            }),
            Err(_) => Err(Denied::because(Refusal::forbidden(
                RefusalId::BoardClosed,
                "the server shows the board only to this host, at its loopback address. Start the \
                 server with --board-token or --board-ca to show it to other hosts",
            ))),
        }
    }

    fn has_token(&self, request: &ClientRequest) -> bool {
        let given = request.authorization.as_deref().and_then(given);
        let digest = given.map(|given| Sha256::of(given.as_bytes()));
        self.token.is_some() && digest == self.token
    }
}

impl Denied {
    fn because(refusal: Refusal) -> Self {
        Self {
            refusal,
            challenge: None,
        }
    }
}

/// Returns whether the request comes from this host itself. A request through a proxy is not local,
/// because a proxy on this host forwards other machines' requests. The `Host` header must name this
/// host. Otherwise, a web site whose name resolves to 127.0.0.1 could read the board through a
/// browser on this host. In such a request, the header contains the web site's name.
fn is_local(request: &ClientRequest) -> bool {
    let host = request.host.as_deref().unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.chars().all(|c| c.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let named_here = name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
    request.proxy.is_none()
        && request.from.is_loopback()
        && request.local.ip().to_canonical().is_loopback()
        && named_here
}

/// Returns the token in an `Authorization` header.
fn given(header: &str) -> Option<String> {
    let (scheme, value) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
}
