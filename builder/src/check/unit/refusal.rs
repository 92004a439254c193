//! The reasons why systemd 219 refuses to load a unit.

use super::loaded::LocatedSpan;

/// A reason why systemd 219 refuses a unit.
pub(super) struct Refusal<'a> {
    /// The text that systemd refuses, or `None` if the unit as a whole is wrong.
    pub(super) at: Option<LocatedSpan<'a>>,
    pub(super) rule: &'static str,
    pub(super) message: String,
    pub(super) fix: &'static str,
}

/// Returns a refusal under the rule `unit/refused`.
pub(super) fn refused<'a>(
    at: Option<LocatedSpan<'a>>,
    message: String,
    fix: &'static str,
) -> Refusal<'a> {
    Refusal {
        at,
        rule: "unit/refused",
        message,
        fix,
    }
}
