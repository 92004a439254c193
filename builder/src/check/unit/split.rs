//! Splits a value into words as systemd 219 does.

use crate::check::finding::Finding;
use crate::check::systemd::words::Words;
use crate::check::text::TextSpan;

/// Returns the finding for the rest of a value, if systemd 219 cannot split this rest into words.
pub(super) fn quote(rest: TextSpan<'_>) -> Finding {
    let (message, instead) = if rest.text.starts_with(['"', '\'']) {
        (
            "this quote is not closed, or no blank follows the closing quote",
            "quote the whole word, as in \"NAME=a b\"; write a quote within a word as \\x22 or \\x27",
        )
    } else {
        ("the value ends with a \\", "write \\\\ for a backslash")
    };
    Finding::error("unit/quote", rest, message)
        .effect("systemd ignores everything from here on")
        .fix(instead)
}

/// Checks each word of a value, and returns the number of valid words.
pub(super) fn words<'a>(
    value: TextSpan<'a>,
    out: &mut Vec<Finding>,
    mut test: impl FnMut(TextSpan<'a>, &mut Vec<Finding>) -> bool,
) -> usize {
    let (words, rest) = Words::of(value).all();
    let right = words.into_iter().filter(|word| test(*word, out)).count();
    out.extend(rest.map(quote));
    right
}
