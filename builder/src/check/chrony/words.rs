//! Splits a line of chrony.conf into words at the characters that C's isspace counts as white
//! space.

use crate::check::finding::Finding;
use crate::check::text::TextSpan;

pub(super) const FATAL: &str = "chronyd does not start";

/// Returns whether C's isspace counts a character as white space.
pub(super) fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

pub(super) fn trim(line: TextSpan<'_>) -> TextSpan<'_> {
    let start = line.text.len() - line.text.trim_start_matches(is_space).len();
    line.slice(start..line.text.trim_end_matches(is_space).len().max(start))
}

/// Returns the first word, and the text after it.
pub(super) fn split_word(line: TextSpan<'_>) -> (TextSpan<'_>, TextSpan<'_>) {
    let line = trim(line);
    let end = line.text.find(is_space).unwrap_or(line.text.len());
    (line.slice(0..end), trim(line.from(end)))
}

pub(super) fn words(line: TextSpan<'_>) -> impl Iterator<Item = TextSpan<'_>> {
    let mut rest = trim(line);
    std::iter::from_fn(move || {
        let (word, behind) = split_word(rest);
        rest = behind;
        Some(word).filter(|word| !word.text.is_empty())
    })
}

/// Returns a finding about a comment if the word begins a comment, and otherwise the finding from
/// `other`.
pub(super) fn comment_or_else(word: TextSpan<'_>, other: impl FnOnce() -> Finding) -> Finding {
    if word.text.starts_with(['#', '!', ';', '%']) {
        let message = "a comment follows a directive".to_owned();
        return wrong(
            word,
            message,
            "chrony 3.4 does not support a comment after a directive; move the comment to its own \
             line",
        );
    }
    other()
}

pub(super) fn wrong(span: TextSpan<'_>, message: String, instead: impl Into<String>) -> Finding {
    Finding::error("chrony/words", span, message)
        .effect(FATAL)
        .fix(instead)
}
