//! A parsed request: the path, the client, and the parameters. This module refuses HTTP features
//! that the server does not need, so that no other module has to handle them.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING, VIA,
};
use hyper::http::request::Parts;
use hyper::{Method, Version};
use recipes::Mac;
use rustls::pki_types::CertificateDer;

use super::client_link::ClientLink;
use super::conditions::Conditions;
use super::identify::{Machine, RequestOrigin};
use super::log::Log;
use super::refusal::{Refusal, RefusalId};

/// The maximum size of a body. The largest body that a node sends is a certificate request of about
/// 1.5 KB.
pub(super) const MAX_BODY_BYTES: usize = 4096;

/// The chain of a client's certificate, leaf first.
pub(super) type ClientChain = Arc<[CertificateDer<'static>]>;

/// The method of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Head,
    Post,
}

#[derive(Debug, Clone)]
pub(super) struct ClientRequest {
    pub(super) verb: Verb,
    /// The path, decoded and normalised, without empty parts, `.` and `..`.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    /// The name by which the client addresses this server, as `NAME` or `NAME:PORT`.
    pub(super) host: Option<String>,
    /// The client's address. An IPv4-mapped IPv6 address is converted to IPv4.
    pub(super) from: IpAddr,
    /// The address of this server that the client is connected to.
    pub(super) local: SocketAddr,
    /// If a proxy forwarded the request, the name of the header that reveals the proxy.
    pub(super) proxy: Option<HeaderName>,
    /// The machine's identity, from the headers that anaconda's initramfs sends.
    pub(super) installer: Machine,
    /// The value of the `Authorization` header.
    pub(super) authorization: Option<String>,
    /// The chain of the client's certificate, leaf first. The chain is empty if the client
    /// presented no certificate. The TLS handshake has proved only that the client has the leaf's
    /// key. The chain itself is not verified yet.
    pub(super) certificates: ClientChain,
    /// The conditions under which a file is sent, and the requested part of the file.
    pub(super) conditions: Conditions,
    /// The body of a POST.
    pub(super) body: Vec<u8>,
    /// The parameters in the body, if the body is a form.
    pub(super) form: Vec<(String, String)>,
    /// The origin of the request, which is determined when it is first needed.
    origin: OnceLock<Result<RequestOrigin, Refusal>>,
}

impl ClientRequest {
    pub(super) fn read(
        head: &Parts,
        remote: SocketAddr,
        local: SocketAddr,
    ) -> Result<Self, Refusal> {
        let headers = &head.headers;
        let verb = verb(&head.method)?;
        let has_body = headers.contains_key(TRANSFER_ENCODING)
            || headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length != HeaderValue::from_static("0"));
        if has_body && verb != Verb::Post {
            return Err(Refusal::bad_request(
                RefusalId::Body,
                "a GET or HEAD request must not have a body",
            ));
        }
        if headers.contains_key(TRANSFER_ENCODING) {
            return Err(Refusal::bad_request(
                RefusalId::Body,
                "a body requires a Content-Length",
            ));
        }
        let path = path(head.uri.path())?;
        let query = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
        Ok(Self {
            verb,
            path,
            query,
            host: host(head)?,
            from: remote.ip().to_canonical(),
            local,
            proxy: proxy(headers),
            installer: installer(headers),
            authorization: headers
                .get(AUTHORIZATION)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            certificates: Arc::default(),
            conditions: Conditions::read(headers),
            body: Vec::new(),
            form: Vec::new(),
            origin: OnceLock::new(),
        })
    }

    /// Adds the certificates of the client.
    pub(super) fn with_certificates(mut self, certificates: &ClientChain) -> Self {
        self.certificates = Arc::clone(certificates);
        self
    }

    /// Adds the body of a POST.
    pub(super) fn with_body(mut self, body: &[u8]) -> Self {
        self.form = url::form_urlencoded::parse(body).into_owned().collect();
        self.body = body.to_vec();
        self
    }

    /// Returns the origin of the request. The kernel is queried only once.
    ///
    /// # Errors
    /// Fails if the origin does not identify the machine that sent the request.
    pub(super) fn origin(&self, log: &Log) -> Result<RequestOrigin, Refusal> {
        self.origin
            .get_or_init(|| RequestOrigin::find(self.from, self.local, self.proxy.as_ref(), log))
            .clone()
    }

    /// Returns the MAC address of the machine that sent the request, if [`ClientRequest::origin`]
    /// found it.
    pub(super) fn card(&self) -> Option<Mac> {
        match self.origin.get()?.as_ref().ok()?.link {
            ClientLink::Neighbour(card) => Some(card),
            ClientLink::NoNeighbour | ClientLink::Routed | ClientLink::Local => None,
        }
    }

    /// Returns the identity that the machine states in its query.
    pub(super) fn machine(&self) -> Machine {
        Machine::read(
            self.query
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        )
    }

    /// Returns a parameter in the query.
    pub(super) fn query_value(&self, key: &str) -> Option<&str> {
        find(&self.query, key)
    }

    /// Returns a parameter in the body.
    pub(super) fn form_value(&self, key: &str) -> Option<&str> {
        find(&self.form, key)
    }
}

fn find<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.as_str())
}

fn verb(method: &Method) -> Result<Verb, Refusal> {
    match *method {
        Method::GET => Ok(Verb::Get),
        Method::HEAD => Ok(Verb::Head),
        Method::POST => Ok(Verb::Post),
        _ => Err(method_refused("GET, HEAD or POST")),
    }
}

/// Returns the refusal of a method that is not in `allowed`.
pub(super) fn method_refused(allowed: &str) -> Refusal {
    let status = hyper::StatusCode::METHOD_NOT_ALLOWED;
    Refusal {
        id: RefusalId::Method,
        status,
        why: format!("expected {allowed}"),
    }
}

/// Decodes the path and splits it into its parts. All spellings of a path have the same result.
fn path(raw: &str) -> Result<Vec<String>, Refusal> {
    let bad = || Refusal::bad_request(RefusalId::Path, "this server does not have this path");
    let decoded: Vec<u8> = percent_decode(raw).ok_or_else(bad)?;
    let text = String::from_utf8(decoded).map_err(|_| bad())?;
    if text.chars().any(char::is_control) || !text.starts_with('/') {
        return Err(bad());
    }
    let parts: Vec<String> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
        .collect();
    if parts.iter().any(|part| part == "..") {
        Err(bad())
    } else {
        Ok(parts)
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            digit(bytes.next()?)? * 16 + digit(bytes.next()?)?
        } else {
            byte
        });
    }
    Some(out)
}

/// Returns the host that the request names. HTTP/1.1 requires exactly one `Host` header. A host in
/// the URI takes precedence (RFC 9112, 3.2).
fn host(head: &Parts) -> Result<Option<String>, Refusal> {
    let bad = |why: &str| Refusal::bad_request(RefusalId::Host, why);
    let mut all = head.headers.get_all(HOST).iter();
    let (first, second) = (all.next(), all.next());
    if second.is_some() {
        return Err(bad("the request has more than one Host header"));
    }
    if first.is_none() && head.version == Version::HTTP_11 {
        return Err(bad(
            "the request does not have a Host header, which HTTP/1.1 requires",
        ));
    }
    let header = first
        .map(|host| {
            host.to_str()
                .map_err(|_| bad("the request's Host header is not ASCII text"))
        })
        .transpose()?;
    let named = head
        .uri
        .authority()
        .map(hyper::http::uri::Authority::as_str)
        .or(header);
    match named {
        Some(host) if !is_host(host) => Err(bad(
            "the request's Host is not a valid host name or address with an optional port",
        )),
        other => Ok(other.map(str::to_owned)),
    }
}

/// Returns whether a string may be the host of this server. The check is strict, because the host
/// becomes part of a boot loader's script and of a kernel's command line.
fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 255
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(c))
}

/// If a proxy forwarded the request, returns the name of the header that reveals the proxy.
fn proxy(headers: &HeaderMap) -> Option<HeaderName> {
    let known = [
        FORWARDED,
        VIA,
        HeaderName::from_static("x-forwarded-for"),
        HeaderName::from_static("x-real-ip"),
    ];
    known.into_iter().find(|name| headers.contains_key(name))
}

/// Returns the identity that anaconda's initramfs sends with `inst.ks.sendmac` and `inst.ks.sendsn`
/// (dracut/anaconda-ks-sendheaders.sh).
fn installer(headers: &HeaderMap) -> Machine {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let cards = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-rhn-provisioning-mac-"));
    // `ens3 52:54:00:00:00:01`
    let macs: Vec<String> = cards
        .filter_map(|(_, value)| text(value).split_whitespace().nth(1).map(str::to_owned))
        .collect();
    let serial = headers.get("x-system-serial-number").map(text);
    let pairs = macs
        .iter()
        .map(|mac| ("mac", mac.as_str()))
        .chain(serial.iter().map(|serial| ("serial", serial.as_str())));
    Machine::read(pairs)
}

#[cfg(test)]
mod tests;
