//! Splits a value into words as 219 does.

use crate::check::finding::Finding;
use crate::check::systemd::words::Words;
use crate::check::text::TextSpan;

/// The finding for the rest of a value, which 219 cannot split into words.
pub(super) fn quote(rest: TextSpan<'_>) -> Finding {
    let (message, instead) = if rest.text.starts_with(['"', '\'']) {
        (
            "this quote is not closed, or something follows it without a blank",
            "quote the whole word, as in \"NAME=a b\"; a quote within a word is written \\x22 or \\x27",
        )
    } else {
        (
            "a \\ at the end, with nothing after it",
            "write \\\\ for a backslash",
        )
    };
    Finding::error("unit/quote", rest, message)
        .effect("219 ignores everything from here on")
        .fix(instead)
}

/// Checks each word of a value, and returns the number of valid ones.
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
