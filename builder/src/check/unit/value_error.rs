//! The reasons why systemd 219 does not accept a value.

use super::assignment::Assignment;
use crate::check::finding::Finding;

/// A reason why systemd 219 does not accept a value.
#[derive(Debug)]
pub(super) enum ValueError {
    /// The value does not have the expected syntax. The fields are the rule's id and a description
    /// of the expected value.
    Syntax(&'static str, String),
    /// systemd cannot resolve the specifier.
    Unresolved(char),
}

/// The verdict of systemd 219 on a value.
pub(super) type ValueResult = Result<(), ValueError>;

/// Returns an error if `right` is false.
pub(super) fn expect(right: bool, rule: &'static str, expected: &str) -> ValueResult {
    if right {
        Ok(())
    } else {
        Err(ValueError::Syntax(rule, expected.to_owned()))
    }
}

/// The effect of a specifier that systemd 219 cannot resolve and therefore keeps as text.
pub(super) const KEPT: &str = "systemd logs a message and keeps the two characters";

/// Returns the finding for a specifier that systemd 219 cannot resolve. systemd ignores the line.
pub(super) fn unresolved(assignment: &Assignment<'_>, letter: char) -> Finding {
    let at = assignment
        .value
        .text
        .find(&format!("%{letter}"))
        .unwrap_or(0);
    let finding = Finding::error(
        "unit/unresolved-specifier",
        assignment.value.slice(at..at + 1 + letter.len_utf8()),
        format!("systemd 219 cannot resolve %{letter} here"),
    );
    finding.effect("systemd ignores the line").fix(match letter {
        'I' => "the unit is not an instance; write %i, which is empty here, or rename the unit to NAME@.TYPE",
        'h' | 's' | 'U' => "PID 1 does not look up users; write the path or number itself, or remove User=",
        _ => "write the expanded text",
    })
}

/// Returns a condition without its prefixes `|` and `!`.
pub(super) fn condition(text: &str) -> &str {
    let text = text.strip_prefix('|').unwrap_or(text);
    text.strip_prefix('!').unwrap_or(text)
}
