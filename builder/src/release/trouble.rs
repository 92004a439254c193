//! What can go wrong with one mirror. The next one may still do.

use std::time::Duration;

use recipes::Sha256;

/// Why one mirror did not give the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// Its URL is not one that can be fetched.
    #[error("not an http or https URL")]
    Address,
    /// No connection, a TLS failure, a refused redirect.
    #[error("{0}")]
    Connection(String),
    /// An answer other than the file.
    #[error("HTTP status {0}")]
    Status(u16),
    /// It asked for more time than there is.
    #[error("HTTP status {status}, and it asks to wait {} s", .wait.as_secs())]
    Wait {
        /// The status it came with.
        status: u16,
        /// The time asked for.
        wait: Duration,
    },
    /// Nothing came for too long.
    #[error("nothing came for {:.1} s", .0.as_secs_f64())]
    Stalled(Duration),
    /// Something came, but not all within the time for the whole.
    #[error("not done after {} s", .0.as_secs())]
    Slow(Duration),
    /// The connection ended early.
    #[error("cut off after {had} bytes{}", .total.map(|total| format!(" of {total}")).unwrap_or_default())]
    Cut {
        /// Bytes that are there.
        had: u64,
        /// Bytes there should be.
        total: Option<u64>,
    },
    /// The part that was there does not belong to this file.
    #[error("the part fetched earlier does not fit its file")]
    Misfit,
    /// It is too large to be a release.
    #[error("larger than any release ({size} bytes or more, the limit is {limit})")]
    TooLarge {
        /// Its size as far as known.
        size: u64,
        /// The most that is taken.
        limit: u64,
    },
    /// All of it came, and it is another file.
    #[error("wrong digest: expected {expected}, found {found}")]
    Digest {
        /// The recipe's.
        expected: Sha256,
        /// That of what came.
        found: Sha256,
    },
    /// It is no SHA256SUMS with this file in it.
    #[error("it does not name {0}")]
    NotListed(String),
}
