//! An assignment `KEY=VALUE`, and the findings about assignments that systemd 219 refuses.

use crate::check::finding::Finding;
use crate::check::text::TextSpan;

/// `KEY=VALUE` in a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assignment<'a> {
    pub(super) section: TextSpan<'a>,
    pub(super) key: TextSpan<'a>,
    pub(super) value: TextSpan<'a>,
}

impl Assignment<'_> {
    /// Returns the finding for a value that systemd 219 does not accept. systemd ignores the line.
    pub(super) fn ignored(&self, rule: &'static str, expected: &str) -> Finding {
        if self.value.text.is_empty() {
            let finding = Finding::error(
                rule,
                self.key,
                format!("systemd 219 does not accept an empty {}=", self.key.text),
            );
            return finding
                .effect("systemd ignores the line")
                .fix(format!("write {expected}"));
        }
        ignored_line(rule, self.key, self.value, expected)
    }
}

/// Returns the finding for a part of a value that systemd 219 does not accept. systemd ignores the
/// whole line.
pub(super) fn ignored_line(
    rule: &'static str,
    key: TextSpan<'_>,
    part: TextSpan<'_>,
    expected: &str,
) -> Finding {
    let finding = Finding::error(
        rule,
        part,
        format!(
            "systemd 219 does not accept `{}` for {}=",
            part.text, key.text
        ),
    );
    finding
        .effect("systemd ignores the line")
        .fix(format!("write {expected}"))
}

/// Returns the finding for a word of a value that systemd 219 ignores.
pub(super) fn ignored_word(rule: &'static str, word: TextSpan<'_>, expected: &str) -> Finding {
    Finding::error(rule, word, format!("`{}` is not {expected}", word.text))
        .effect("systemd ignores the word")
}
