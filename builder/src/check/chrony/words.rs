//! The words of a line of chrony.conf, as C's isspace separates them.

use crate::check::finding::Finding;
use crate::check::text::TextSpan;

pub(super) const FATAL: &str = "chronyd does not start";

/// What C's isspace counts as white space.
pub(super) fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

pub(super) fn trim(line: TextSpan<'_>) -> TextSpan<'_> {
    let start = line.text.len() - line.text.trim_start_matches(is_space).len();
    line.slice(start..line.text.trim_end_matches(is_space).len().max(start))
}

/// The first word, and the text after it.
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

/// The finding for a comment after a directive if the word begins one, else the other finding.
pub(super) fn comment_or_else(word: TextSpan<'_>, other: impl FnOnce() -> Finding) -> Finding {
    if word.text.starts_with(['#', '!', ';', '%']) {
        let message = "a comment after a directive".to_owned();
        return wrong(
            word,
            message,
            "3.4 has none there: move it to a line of its own",
        );
    }
    other()
}

pub(super) fn wrong(place: TextSpan<'_>, message: String, instead: impl Into<String>) -> Finding {
    Finding::error("chrony/words", place, message)
        .effect(FATAL)
        .fix(instead)
}
