//! The reason why one mirror failed. The next mirror may still succeed.

use std::time::Duration;

use recipes::Sha256;

/// The reason why one mirror did not provide the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MirrorError {
    /// The mirror's URL is neither HTTP nor HTTPS.
    #[error("it is not an HTTP or HTTPS URL")]
    Address,
    /// The connection or TLS failed, or a redirect was refused.
    #[error("{0}")]
    Connection(String),
    /// The answer does not contain the file.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The mirror requests a longer pause than the builder allows.
    #[error("HTTP status {status}, and the mirror requests a wait of {} s", .wait.as_secs())]
    Wait { status: u16, wait: Duration },
    /// No data arrived within the time limit.
    #[error("no data arrived for {:.1} s", .0.as_secs_f64())]
    Stalled(Duration),
    /// The file did not arrive completely within its time limit.
    #[error("the download was not complete after {} s", .0.as_secs())]
    Slow(Duration),
    /// The connection ended early.
    #[error("the download was interrupted after {had} bytes{}",
        .total.map(|total| format!(" of {total}")).unwrap_or_default())]
    Cut {
        /// The number of bytes that arrived.
        had: u64,
        /// The number of expected bytes.
        total: Option<u64>,
    },
    /// The partial download is not a part of the mirror's file.
    #[error("the partial download does not match the file")]
    Misfit,
    /// The file is larger than allowed.
    #[error("the file is larger than allowed ({size} bytes or more; the limit is {limit})")]
    TooLarge {
        /// The size that is known so far.
        size: u64,
        /// The maximum size of the file.
        limit: u64,
    },
    /// The complete file arrived, but it is not the expected file.
    #[error("it has the wrong digest: expected {expected}, found {found}")]
    Digest {
        /// The expected digest.
        expected: Sha256,
        /// The digest of the downloaded file.
        found: Sha256,
    },
    /// The complete file arrived, but it cannot be parsed.
    #[error("{0}")]
    Content(String),
    /// The mirror's SHA256SUMS does not list this file.
    #[error("it does not list {0}")]
    NotListed(String),
}
