//! Checks the expiry of the CAs that nodes trust, and warns of it in time.

use std::path::Path;

use time::{Duration, OffsetDateTime};

use super::certificate::{Certificate, utc};
use super::event::Event;
use super::{Lifetimes, PkiError};

/// The remaining lifetime of a CA at which the builder begins to warn, unless a quarter of the CA's
/// lifetime is shorter.
const WARNING: Duration = Duration::days(90);

/// The use of a trusted CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthorityUse {
    /// The CA signs the nodes' certificates.
    Signs,
    /// Another CA signs, and this CA is only trusted. The builder can work without this CA.
    IsTrusted,
    /// The certificates are ready-made, and the builder does not know which CA signed them.
    SignedElsewhere,
}

/// Refuses a CA that has expired, unless another CA signs. Returns a warning if the operator must
/// act because the CA has expired or will expire.
pub(super) fn check_expiry(
    path: &Path,
    certificate: &Certificate,
    use_of: AuthorityUse,
    lifetimes: Lifetimes,
    now: OffsetDateTime,
) -> Result<Option<Event>, PkiError> {
    let (subject, end) = (&certificate.subject, certificate.not_after);
    let has_expired = now >= end;
    if !has_expired && end - now >= warn_before(certificate, lifetimes) {
        return Ok(None);
    }
    let expires = if has_expired { "expired" } else { "expires" };
    let found = format!("`{subject}` {expires} on {}", utc(end));
    let text = match use_of {
        AuthorityUse::IsTrusted => format!(
            "{found}, and another CA certificate signs now: when all nodes have their new documents, run \
             `builder pki retire` or, if [tls] ca-cert names this file, remove this CA from the \
             file"
        ),
        AuthorityUse::Signs if has_expired => {
            return Err(PkiError::wrong(
                path,
                found,
                "run `builder pki rotate`, and build again; if [tls] ca-cert names this file, add \
                 a new CA to the file, and replace the key",
            ));
        }
        AuthorityUse::SignedElsewhere if has_expired => {
            return Err(PkiError::wrong(
                path,
                found,
                "remove it from the file if another CA signs now, or replace it with a new CA",
            ));
        }
        AuthorityUse::Signs | AuthorityUse::SignedElsewhere => format!(
            "{found}. A certificate that this CA signs cannot outlive it: plan the replacement \
             of this CA"
        ),
    };
    Ok(Some(Event::Warning {
        path: path.to_owned(),
        text,
    }))
}

/// Returns the remaining lifetime below which the builder warns of a CA's expiry. The nodes'
/// certificates may be renewed only minutes before they expire, but the replacement of a CA takes
/// days or weeks.
fn warn_before(certificate: &Certificate, lifetimes: Lifetimes) -> Duration {
    let life = certificate.not_after - certificate.not_before;
    lifetimes.renew_before.max(WARNING.min(life / 4))
}
