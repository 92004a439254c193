//! The reasons why systemd 219 refuses to load a unit.

use super::loaded::LocatedSpan;

/// A reason why systemd 219 refuses a unit, as its position, rule, fault and correction.
pub(super) type Refusal<'a> = (Option<LocatedSpan<'a>>, &'static str, String, &'static str);

pub(super) type Verified<'a> = Option<Refusal<'a>>;

const REFUSED: &str = "unit/refused";

/// Returns a refusal under the most common rule.
pub(super) fn refused<'a>(
    place: Option<LocatedSpan<'a>>,
    message: String,
    instead: &'static str,
) -> Refusal<'a> {
    (place, REFUSED, message, instead)
}
