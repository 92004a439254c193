//! Why 219 does not accept a value.

use super::assignment::Assignment;
use crate::check::finding::Finding;

/// Why 219 does not accept a value.
#[derive(Debug)]
pub(super) enum ValueError {
    /// It does not have the expected form: the rule, and what to write.
    Form(&'static str, String),
    /// 219 cannot resolve the specifier.
    Unresolved(char),
}

/// Whether 219 accepts a value.
pub(super) type ValueResult = Result<(), ValueError>;

/// An error unless the value is right.
pub(super) fn expect(right: bool, rule: &'static str, expected: &str) -> ValueResult {
    if right {
        Ok(())
    } else {
        Err(ValueError::Form(rule, expected.to_owned()))
    }
}

/// What 219 does in some places with a specifier that it cannot resolve.
pub(super) const KEPT: &str = "219 logs that and keeps these two characters";

/// 219 cannot resolve a specifier, and ignores the line.
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
    finding.effect("219 ignores the line").fix(match letter {
        'I' => "the unit is not an instance: write %i, which is then empty, or rename the unit to NAME@.TYPE",
        'h' | 's' | 'U' => "PID 1 looks up no users: write the path or number out, or remove User=",
        _ => "write the text that you mean",
    })
}

/// A condition without its | and !.
pub(super) fn condition(text: &str) -> &str {
    let text = text.strip_prefix('|').unwrap_or(text);
    text.strip_prefix('!').unwrap_or(text)
}
