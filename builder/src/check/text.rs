//! Pieces of a file's text, each with its position in the file.

use std::ops::Range;

/// A piece of a file's text, and the position of the piece in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextSpan<'a> {
    /// The text of the piece.
    pub(super) text: &'a str,
    at: usize,
}

impl<'a> TextSpan<'a> {
    /// Creates a piece that covers a whole file.
    pub(super) fn whole(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the position of the piece, in bytes from the start of the file.
    pub(super) fn span(self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    /// Returns a part of the piece, by byte offsets from the start of the piece. The part is empty
    /// if the range exceeds the piece, or starts or ends within a character.
    pub(super) fn slice(self, range: Range<usize>) -> Self {
        let text = self.text.get(range.clone()).unwrap_or_default();
        Self {
            text,
            at: self.at + range.start.min(self.text.len()),
        }
    }

    /// Returns the part that begins at a byte offset.
    pub(super) fn from(self, start: usize) -> Self {
        self.slice(start..self.text.len())
    }

    /// Returns the lines, without their line ends.
    pub(super) fn lines(self) -> impl Iterator<Item = Self> {
        self.split('\n')
            .map(|line| line.slice(0..line.text.strip_suffix('\r').unwrap_or(line.text).len()))
    }

    /// Returns the first line that ends with a carriage return, without the white space around the
    /// line. Skips comments, because a shell ignores a carriage return at the end of a comment.
    pub(super) fn carriage_return(self) -> Option<Self> {
        let is_comment = |line: &Self| line.text.trim_start().starts_with('#');
        self.split('\n')
            .find(|line| line.text.ends_with('\r') && !is_comment(line))
            .map(Self::trim)
    }

    /// Returns the pieces between the occurrences of a character, including empty pieces.
    pub(super) fn split(self, separator: char) -> impl Iterator<Item = Self> {
        let mut at = self.at;
        self.text.split(separator).map(move |text| {
            let part = Self { text, at };
            at += text.len() + separator.len_utf8();
            part
        })
    }

    /// Returns the pieces between white space.
    pub(super) fn words(self) -> impl Iterator<Item = Self> {
        let start = self.text.as_ptr() as usize;
        self.text.split_whitespace().map(move |text| Self {
            text,
            at: self.at + (text.as_ptr() as usize - start),
        })
    }

    /// Returns the piece without surrounding white space.
    pub(super) fn trim(self) -> Self {
        let skip = self.text.len() - self.text.trim_start().len();
        let text = self.text.trim();
        Self {
            text,
            at: self.at + skip,
        }
    }

    /// Returns the text before and after the first occurrence of a character.
    pub(super) fn split_once(self, separator: char) -> Option<(Self, Self)> {
        let at = self.text.find(separator)?;
        Some((self.slice(0..at), self.from(at + separator.len_utf8())))
    }

    /// Returns the text after a prefix, if the piece begins with that prefix.
    pub(super) fn strip(self, prefix: &str) -> Option<Self> {
        self.text
            .starts_with(prefix)
            .then(|| self.from(prefix.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_piece_has_its_correct_place(text in "[a =\\r\\né]{0,40}") {
            let whole = TextSpan::whole(&text);
            for line in whole.lines() {
                prop_assert_eq!(&text[line.span()], line.text);
                for word in line.words().chain([line.trim()]).chain(line.split('=')) {
                    prop_assert_eq!(&text[word.span()], word.text);
                }
                if let Some((before, behind)) = line.split_once('=') {
                    prop_assert_eq!(&text[before.span()], before.text);
                    prop_assert_eq!(&text[behind.span()], behind.text);
                }
            }
        }
    }
}
