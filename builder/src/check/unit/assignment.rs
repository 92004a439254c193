//! One `KEY=VALUE`, and how its refusal is told.

use crate::check::finding::Finding;
use crate::check::text::Part;

/// `KEY=VALUE` in a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assignment<'a> {
    pub(super) section: Part<'a>,
    pub(super) key: Part<'a>,
    pub(super) value: Part<'a>,
}

impl Assignment<'_> {
    /// 219 does not take the value, and ignores the line.
    pub(super) fn refuse(&self, rule: &'static str, expected: &str) -> Finding {
        if self.value.text.is_empty() {
            let finding =
                Finding::error(rule, self.key, format!("systemd 219 does not take an empty {}=", self.key.text));
            return finding.does("219 ignores the line").instead(format!("write {expected}"));
        }
        refuse(rule, self.key, self.value, expected)
    }
}

/// 219 does not take a part of a value, and ignores the whole line.
pub(super) fn refuse(rule: &'static str, key: Part<'_>, part: Part<'_>, expected: &str) -> Finding {
    let finding = Finding::error(rule, part, format!("systemd 219 does not take `{}` for {}=", part.text, key.text));
    finding.does("219 ignores the line").instead(format!("write {expected}"))
}

/// 219 ignores one word of a value.
pub(super) fn refuse_word(rule: &'static str, word: Part<'_>, expected: &str) -> Finding {
    Finding::error(rule, word, format!("`{}` is not {expected}", word.text)).does("219 ignores the word")
}
