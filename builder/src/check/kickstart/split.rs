//! Splits a line as pykickstart does, with Python 2.7's shlex in POSIX mode (rhel7-branch,
//! parser.py, `_stateMachine` and `_readSection`). pykickstart splits a line together with its line
//! end. A backslash at the end therefore turns the line end into a word, and a line cannot be
//! continued.

use std::ops::Range;

use crate::check::text::TextSpan;

/// A word as the command receives it, and its position in the file. The position includes the
/// quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) value: String,
    pub(super) span: Range<usize>,
}

/// The reason why a line cannot be split.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::check) enum SplitError {
    /// A quote is not closed. The value is the position of the quote.
    Quote(usize),
    /// The text ends with a backslash. The value is the position of the backslash.
    Escape(usize),
}

/// The characters that shlex counts as white space.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a line into words. Returns the words, and the position of a comment that cuts off a word.
/// `comments` is true if `#` begins a comment.
pub(super) fn split(
    line: TextSpan<'_>,
    comments: bool,
) -> Result<(Vec<Token>, Option<usize>), SplitError> {
    let (mut words, mut current): (Vec<Token>, Option<Token>) = (Vec::new(), None);
    let start = line.span().start;
    let mut chars = line.text.char_indices().map(|(at, c)| (start + at, c));
    while let Some((at, c)) = chars.next() {
        let begun = current.is_some();
        let mut push = |c: Option<char>, end: usize| {
            let word = current.get_or_insert_with(|| Token {
                value: String::new(),
                span: at..at,
            });
            word.value.extend(c);
            word.span.end = end;
        };
        match c {
            c if SPACE.contains(&c) => words.extend(current.take()),
            '#' if comments => return Ok((finish(words, current), begun.then_some(at))),
            '\\' => match chars.next() {
                Some((next, c)) => push(Some(c), next + c.len_utf8()),
                None => return Err(SplitError::Escape(at)),
            },
            '\'' => loop {
                match chars.next() {
                    Some((end, '\'')) => break push(None, end + 1),
                    Some((next, c)) => push(Some(c), next + c.len_utf8()),
                    None => return Err(SplitError::Quote(at)),
                }
            },
            '"' => loop {
                match chars.next() {
                    Some((end, '"')) => break push(None, end + 1),
                    // Within double quotes, a backslash escapes only a quote or a backslash.
                    Some((next, '\\')) => match chars.next() {
                        Some((_, c @ ('"' | '\\'))) => push(Some(c), next + 2),
                        Some((end, c)) => {
                            push(Some('\\'), next + 1);
                            push(Some(c), end + c.len_utf8());
                        }
                        None => return Err(SplitError::Quote(at)),
                    },
                    Some((next, c)) => push(Some(c), next + c.len_utf8()),
                    None => return Err(SplitError::Quote(at)),
                }
            },
            c => push(Some(c), at + c.len_utf8()),
        }
    }
    Ok((finish(words, current), None))
}

fn finish(mut words: Vec<Token>, current: Option<Token>) -> Vec<Token> {
    words.extend(current);
    words
}

/// Splits a string into words as Python's shlex does.
pub(in crate::check) fn shell_words(text: &str) -> Result<Vec<String>, SplitError> {
    let words = split(TextSpan::whole(text), false)?.0;
    Ok(words.into_iter().map(|word| word.value).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(line: &str) -> Vec<String> {
        split(TextSpan::whole(line), true)
            .unwrap()
            .0
            .into_iter()
            .map(|word| word.value)
            .collect()
    }

    #[test]
    fn words_are_split_as_python_splits_them() {
        assert_eq!(
            values(r#"a 'b c'd "e\"f" g\ h '' # i"#),
            ["a", "b cd", "e\"f", "g h", ""]
        );
        assert_eq!(values(r#""$HOME \x""#), [r"$HOME \x"]);
        assert_eq!(split(TextSpan::whole("a b#c"), true).unwrap().1, Some(3));
        assert_eq!(
            split(TextSpan::whole("a 'b"), true),
            Err(SplitError::Quote(2))
        );
        assert_eq!(
            split(TextSpan::whole("a \\"), true),
            Err(SplitError::Escape(2))
        );
        assert_eq!(values("a \\\n"), ["a", "\n"]);
        assert_eq!(values("a\u{a0}b\u{b}c"), ["a\u{a0}b\u{b}c"]);
        assert_eq!(split(TextSpan::whole("a #b"), false).unwrap().0.len(), 2);
    }

    proptest! {
        /// Checks that quoting a text and splitting the result returns the same text.
        #[test]
        fn quoted_text_is_read_back_unchanged(text in "[^\\p{Cc}]{0,40}") {
            let line = format!("rootpw {}", crate::render::quoted(&text));
            prop_assert_eq!(values(&line), ["rootpw".to_owned(), text]);
        }
    }
}
