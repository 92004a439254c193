//! Why one mirror failed; the next one may still succeed.

use std::time::Duration;

use recipes::Sha256;

/// The reason why one mirror did not provide the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MirrorError {
    /// Its URL cannot be fetched.
    #[error("not an http or https URL")]
    Address,
    /// No connection, a TLS failure, a refused redirect.
    #[error("{0}")]
    Connection(String),
    /// The answer does not contain the file.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The mirror asks for a longer pause than allowed.
    #[error("HTTP status {status}, and it asks to wait {} s", .wait.as_secs())]
    Wait {
        /// The status of the answer.
        status: u16,
        /// The requested pause.
        wait: Duration,
    },
    /// No data arrived for too long.
    #[error("nothing came for {:.1} s", .0.as_secs_f64())]
    Stalled(Duration),
    /// Data arrived, but not all within the time limit for the whole file.
    #[error("not done after {} s", .0.as_secs())]
    Slow(Duration),
    /// The connection ended early.
    #[error("cut off after {had} bytes{}", .total.map(|total| format!(" of {total}")).unwrap_or_default())]
    Cut {
        /// The number of bytes that arrived.
        had: u64,
        /// The number of expected bytes.
        total: Option<u64>,
    },
    /// The existing part does not belong to this file.
    #[error("the part fetched earlier does not fit its file")]
    Misfit,
    /// It is larger than it can rightly be.
    #[error("larger than it may be ({size} bytes or more, the limit is {limit})")]
    TooLarge {
        /// Its size, as far as it is known.
        size: u64,
        /// The maximum size.
        limit: u64,
    },
    /// The complete file arrived, but it is not the expected one.
    #[error("wrong digest: expected {expected}, found {found}")]
    Digest {
        /// The recipe's.
        expected: Sha256,
        /// The digest of the downloaded file.
        found: Sha256,
    },
    /// The complete file arrived, and cannot be read as what it should be.
    #[error("{0}")]
    Content(String),
    /// The SHA256SUMS does not list this file.
    #[error("it does not name {0}")]
    NotListed(String),
}
