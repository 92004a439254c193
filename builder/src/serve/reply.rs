//! An answer before it is converted to HTTP: text, a refusal, a piece of a file, or events.

use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};

use super::board::Events;
use super::files::Piece;
use super::refusal::Refusal;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) content: Content,
    /// Whether the server closes the connection after the answer.
    pub(super) close: bool,
}

/// The content of an answer.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    File(Option<Piece>),
    /// Events, which are sent as they happen.
    Events(Events),
}

/// Creates an answer from text.
pub(super) fn text_reply(status: StatusCode, mut text: String) -> Reply {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let headers = vec![
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        // The text is valid only for this client, and only at this moment.
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Reply {
        status,
        headers,
        content: Content::Text(text),
        close: false,
    }
}

/// Creates an answer from a refusal.
pub(super) fn refused(refusal: &Refusal) -> Reply {
    let mut reply = text_reply(refusal.status, refusal.to_string());
    if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
        reply
            .headers
            .push((RETRY_AFTER, HeaderValue::from_static("2")));
    }
    // The server may not have read the body of a malformed request, or of a request with a refused
    // method, so it cannot determine where the next request begins.
    reply.close = matches!(
        refusal.status,
        StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED
    );
    reply
}

/// Returns the current time, for the records of a request.
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}
