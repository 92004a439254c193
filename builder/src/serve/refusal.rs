//! The reasons why a request is refused. Each reason has a stable id, which programs can use. The
//! wording of a reason can change at any time. docs/exit-codes.md explains each id.

use std::fmt;

use clap::ValueEnum;
use hyper::StatusCode;
use serde::{Serialize, Serializer};

/// The id of a refusal. `clap` derives the kebab-case spelling, so `WrongCard` becomes
/// `wrong-card`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RefusalId {
    // Reasons about the request itself.
    Request,
    Body,
    Host,
    Path,
    Method,
    NotFound,

    // Reasons about the requesting machine.
    UnknownMachine,
    CardUnknown,
    WrongCard,
    WrongAddress,
    ThisHost,
    Proxied,
    Ipv6,

    // Reasons about documents, installations and reports.
    DocumentClosed,
    NoRecord,
    NoTree,
    Held,
    Stage,
    StaleReport,
    ImageReplaced,
    Unrecorded,

    // Reasons about the nodes' requests for a reinstallation.
    ReinstallOff,
    ReinstallProof,
    ReinstallImage,

    // Reasons about requests for certificates.
    NotEnrolled,
    KeyOfAnotherNode,
    KeyNotApproved,
    PkiBusy,
    NotBuilt,

    // Reasons about the board.
    BoardClosed,
    BoardToken,
    BoardCertificate,
    BoardBusy,

    // The server's own failure.
    Failed,
}

impl fmt::Display for RefusalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value()
            .map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl Serialize for RefusalId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A refusal: its id, the status of the response, and the text for the requesting machine and the
/// log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The reason's id.
    pub(super) id: RefusalId,
    /// The status of the answer. firstboot repeats the request for its document after a 404, a 408, a
    /// 429 and each 5xx, but not after a 403. The kickstart repeats a report after each error.
    pub(super) status: StatusCode,
    /// The fault and the remedy.
    pub(super) why: String,
}

impl Refusal {
    /// Creates a refusal that does not change if the client repeats the request (403).
    pub(super) fn forbidden(id: RefusalId, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::FORBIDDEN,
            why: why.into(),
        }
    }

    /// Creates a refusal for something that does not exist yet, but that a later build may add
    /// (404).
    pub(super) fn not_found(id: RefusalId, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::NOT_FOUND,
            why: why.into(),
        }
    }

    /// Creates a refusal for a temporary condition (503).
    pub(super) fn unavailable(id: RefusalId, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::SERVICE_UNAVAILABLE,
            why: why.into(),
        }
    }

    /// Creates a refusal for a malformed request (400).
    pub(super) fn bad_request(id: RefusalId, why: impl Into<String>) -> Self {
        Self {
            id,
            status: StatusCode::BAD_REQUEST,
            why: why.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.why, self.id)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::documented;

    #[test]
    fn the_documentation_lists_exactly_the_ids_that_exist() {
        let ids = RefusalId::value_variants().iter().map(ToString::to_string);
        assert_eq!(
            documented("exit-codes.md", "Ids of builder serve"),
            ids.collect()
        );
    }

    #[test]
    fn a_refusal_ends_with_its_id() {
        let refusal = Refusal::forbidden(RefusalId::NoTree, "there is no tree");
        assert_eq!(refusal.to_string(), "there is no tree [no-tree]");
    }
}
