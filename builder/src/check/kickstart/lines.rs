//! Reads the lines of a kickstart as pykickstart splits them.

use super::split::{SplitError, Token, split};
use crate::check::finding::Finding;
use crate::check::text::TextSpan;

/// Returns the lines of a string, each with its line end, like Python's splitlines. A lone carriage
/// return also ends a line.
pub(super) fn lines(text: TextSpan<'_>) -> impl Iterator<Item = TextSpan<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let bytes = rest.text.as_bytes();
        let end = bytes
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let end = end
            + if bytes[end..].starts_with(b"\r\n") {
                2
            } else {
                1
            };
        let line = rest.slice(0..end);
        rest = rest.from(end);
        Some(line)
    })
    .chain(std::iter::once(()).filter_map(move |()| {
        let start = text.text.rfind(['\n', '\r']).map_or(0, |at| at + 1);
        Some(text.from(start)).filter(|line| !line.text.is_empty())
    }))
}

/// Returns whether C's isspace counts a character as white space.
pub(super) fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

/// Returns whether pykickstart skips a line.
pub(super) fn is_blank_or_comment(line: TextSpan<'_>) -> bool {
    let rest = line.text.trim_start_matches(is_space);
    rest.is_empty() || rest.starts_with('#')
}

/// Splits a line into words, and reports problems. Returns `None` if the line cannot be split.
pub(super) fn words_of(line: TextSpan<'_>, out: &mut Vec<Finding>) -> Option<Vec<Token>> {
    match split(line, true) {
        Ok((words, cut)) => {
            if let Some(at) = cut {
                out.push(
                    Finding::warning(
                        "kickstart/hash",
                        at..at + 1,
                        "a # within a word begins a comment",
                    )
                    .effect("pykickstart ignores the rest of the line")
                    .fix("put the word into single quotes, or write a space before the #"),
                );
            }
            if let Some(word) = words.iter().find(|word| word.value.contains(['\n', '\r'])) {
                let backslash = line
                    .text
                    .trim_end_matches(['\n', '\r'])
                    .len()
                    .saturating_sub(1)
                    + line.span().start;
                let at = backslash.max(word.span.start);
                out.push(
                    Finding::warning(
                        "kickstart/continuation",
                        at..at + 1,
                        "a line of a kickstart cannot be continued",
                    )
                    .effect("the line break becomes a word of the command, and the next line becomes a separate command")
                    .fix("write the command on one line"),
                );
            }
            Some(words)
        }
        Err(broken) => {
            out.push(cannot_split(&broken));
            None
        }
    }
}

/// Returns the finding for a line that shlex cannot split. anaconda does not catch the ValueError
/// of shlex.
pub(super) fn cannot_split(broken: &SplitError) -> Finding {
    match *broken {
        SplitError::Quote(at) => {
            Finding::error("kickstart/quote", at..at + 1, "the quote is not closed")
                .effect("anaconda crashes: no closing quotation")
                .fix("close the quote on the same line; write a ' within single quotes as '\\''")
        }
        SplitError::Escape(at) => Finding::error(
            "kickstart/quote",
            at..at + 1,
            "the file ends with a backslash",
        )
        .effect("anaconda crashes: no escaped character")
        .fix("remove it"),
    }
}

pub(super) fn include(words: &[Token]) -> Option<Finding> {
    if words.get(1).is_some_and(|word| !word.value.is_empty()) {
        return None;
    }
    let finding = Finding::error(
        "kickstart/include",
        words[0].span.clone(),
        "%include has no file",
    );
    Some(
        finding
            .effect("anaconda stops")
            .fix("write %include /path/to/file"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_python_splits_them() {
        let all = |text: &'static str| {
            lines(TextSpan::whole(text))
                .map(|line| line.text)
                .collect::<Vec<_>>()
        };
        assert_eq!(all("a\nb\r\nc\rd"), ["a\n", "b\r\n", "c\r", "d"]);
        assert_eq!(all("a\n\n"), ["a\n", "\n"]);
        assert_eq!(all("\r"), ["\r"]);
        assert!(all("").is_empty());
        assert_eq!(lines(TextSpan::whole("a\nb")).last().unwrap().span(), 2..3);
    }
}
