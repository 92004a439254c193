//! Why a request is refused. Each reason has a fixed id, which tests and programs use; the text may
//! change.

use hyper::StatusCode;

/// The reason for a refusal, as text for the requesting machine and for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The reason's name: lower case, with hyphens.
    pub(super) id: &'static str,
    /// The status of the answer. After a 404 or a 503, firstboot and the kickstart ask again; after
    /// a 403 they stop asking.
    pub(super) status: StatusCode,
    /// What is wrong and what to do.
    pub(super) why: String,
}

impl Refusal {
    /// A refusal: repeating the request does not help.
    pub(super) fn forbidden(id: &'static str, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::FORBIDDEN,
            why: why.into(),
        }
    }

    /// Not known here, although a later build may know it.
    pub(super) fn not_found(id: &'static str, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::NOT_FOUND,
            why: why.into(),
        }
    }

    /// Not now.
    pub(super) fn unavailable(id: &'static str, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::SERVICE_UNAVAILABLE,
            why: why.into(),
        }
    }

    /// The request itself is malformed.
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
