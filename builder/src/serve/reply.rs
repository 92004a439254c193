//! An answer before it is turned into HTTP: a text, a refusal, or a piece of a file.

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
    /// Events that follow as they happen.
    Events(Events),
}

/// Returns a text as an answer.
pub(super) fn text_reply(status: StatusCode, mut text: String) -> Reply {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let headers = vec![
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        // The text is meant only for this client, and only at this time.
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Reply {
        status,
        headers,
        content: Content::Text(text),
        close: false,
    }
}

/// Returns a refusal as an answer.
pub(super) fn refused(refusal: &Refusal) -> Reply {
    let mut reply = text_reply(refusal.status, refusal.to_string());
    if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
        reply
            .headers
            .push((RETRY_AFTER, HeaderValue::from_static("2")));
    }
    // If the request itself is malformed, it is not clear where the next one would begin.
    reply.close = matches!(
        refusal.status,
        StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED
    );
    reply
}

/// Returns the current time for records. A request reads it once, so that all its changes have the
/// same time.
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}
