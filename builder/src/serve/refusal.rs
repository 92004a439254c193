//! Why a request is refused. Each reason has a fixed id, which tests and programs use. The text can
//! change.

use hyper::StatusCode;

/// The reason for a refusal, as text for the requesting machine and for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The reason's name: lower case, with hyphens.
    pub(super) id: &'static str,
    /// The status of the answer. After a 404 or a 503, firstboot and the kickstart ask again. After
    /// a 403 they stop.
    pub(super) status: StatusCode,
    /// The fault and the remedy.
    pub(super) why: String,
}

impl Refusal {
    /// Creates a refusal that does not change if the client repeats the request (403).
    pub(super) fn forbidden(id: &'static str, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::FORBIDDEN,
            why: why.into(),
        }
    }

    /// Creates a refusal for something that is not known yet, but that a later build may add (404).
    pub(super) fn not_found(id: &'static str, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::NOT_FOUND,
            why: why.into(),
        }
    }

    /// Creates a refusal for a temporary condition (503).
    pub(super) fn unavailable(id: &'static str, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::SERVICE_UNAVAILABLE,
            why: why.into(),
        }
    }

    /// Creates a refusal for a malformed request (400).
    pub(super) fn bad_request(id: &'static str, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::BAD_REQUEST,
            why: why.into(),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]", self.why, self.id)
    }
}

impl std::error::Error for Refusal {}
