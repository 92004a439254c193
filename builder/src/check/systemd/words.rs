//! Splits strings into words. systemd 219 splits strings in two ways. [`Words`] (`split`,
//! FOREACH_WORD_QUOTED) recognises a quote only at the start of a word, and keeps backslashes.
//! [`Extract`] (`extract_first_word`) joins quoted pieces, and removes backslashes.

use crate::check::text::TextSpan;

/// Returns whether systemd counts a byte as white space.
pub(in crate::check) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Returns a string without blanks at either end (`strstrip`). Unicode defines more white-space
/// characters than systemd recognises.
pub(in crate::check) fn strip(text: TextSpan<'_>) -> TextSpan<'_> {
    let text = skip_blank(text);
    let end = text.text.trim_end_matches([' ', '\t', '\n', '\r']).len();
    text.slice(0..end)
}

/// Returns the words between blanks, without recognising quotes (FOREACH_WORD).
pub(in crate::check) fn bare(text: TextSpan<'_>) -> impl Iterator<Item = TextSpan<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let word = skip_blank(rest);
        let length = word
            .text
            .bytes()
            .take_while(|byte| !is_blank(*byte))
            .count();
        rest = word.from(length);
        (length > 0).then(|| word.slice(0..length))
    })
}

fn skip_blank(text: TextSpan<'_>) -> TextSpan<'_> {
    text.from(text.text.bytes().take_while(|byte| is_blank(*byte)).count())
}

/// Returns the length of a string up to the first byte that matches `stop` and that no backslash
/// escapes. Does not count a lone backslash at the end.
fn span_escaped(text: &str, stop: impl Fn(u8) -> bool) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if stop(byte) => return at,
            _ => {}
        }
    }
    text.len() - usize::from(escaped)
}

/// The words of a value. After the last word, [`Words::rest`] contains the text, if any, that
/// systemd cannot split: an unclosed quote, a closing quote directly followed by another character,
/// or a backslash at the end.
#[derive(Debug)]
pub(in crate::check) struct Words<'a> {
    pub(in crate::check) rest: TextSpan<'a>,
}

impl<'a> Words<'a> {
    pub(in crate::check) fn of(value: TextSpan<'a>) -> Self {
        Self { rest: value }
    }

    /// Returns all words, and the text that cannot be split.
    pub(in crate::check) fn all(mut self) -> (Vec<TextSpan<'a>>, Option<TextSpan<'a>>) {
        let words: Vec<_> = self.by_ref().collect();
        (words, (!self.rest.text.is_empty()).then_some(self.rest))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = TextSpan<'a>;

    fn next(&mut self) -> Option<TextSpan<'a>> {
        let current = skip_blank(self.rest);
        self.rest = current;
        let bytes = current.text.as_bytes();
        let first = *bytes.first()?;
        let ends_at = |at: usize| bytes.get(at).is_none_or(|byte| is_blank(*byte));
        if first == b'"' || first == b'\'' {
            let length = span_escaped(&current.text[1..], |byte| byte == first);
            if bytes.get(length + 1) != Some(&first) || !ends_at(length + 2) {
                return None;
            }
            self.rest = current.from(length + 2);
            Some(current.slice(1..length + 1))
        } else {
            let length = span_escaped(current.text, is_blank);
            if !ends_at(length) {
                return None;
            }
            self.rest = current.from(length);
            Some(current.slice(0..length))
        }
    }
}

/// A word without its quotes, and its position in the file. The position includes the quotes.
pub(in crate::check) type Extracted<'a> = (String, TextSpan<'a>);

/// The words of a value, with quotes and backslashes removed.
#[derive(Debug)]
pub(in crate::check) struct Extract<'a> {
    rest: Option<TextSpan<'a>>,
    separators: &'static str,
    quotes: bool,
    coalesce: bool,
}

impl<'a> Extract<'a> {
    /// Splits a value at `separators` into words, which can be quoted.
    pub(in crate::check) fn quoted(value: TextSpan<'a>, separators: &'static str) -> Self {
        Self {
            rest: Some(value),
            separators,
            quotes: true,
            coalesce: true,
        }
    }

    /// Splits a value at each separator, and also returns empty fields.
    pub(in crate::check) fn fields(value: TextSpan<'a>, separators: &'static str) -> Self {
        Self {
            rest: Some(value),
            separators,
            quotes: false,
            coalesce: false,
        }
    }

    /// Returns the text that remains, or `None` if the value ended directly after the last word.
    /// For a value of [`Self::quoted`], also returns `None` if only separators followed the last
    /// word.
    pub(in crate::check) fn rest(&self) -> Option<TextSpan<'a>> {
        self.rest
    }

    fn is_separator(&self, byte: u8) -> bool {
        self.separators.as_bytes().contains(&byte)
    }

    /// Returns the next word, or an error if a quote is not closed or the value ends with a
    /// backslash.
    pub(in crate::check) fn next(&mut self) -> Result<Option<Extracted<'a>>, TextSpan<'a>> {
        let Some(text) = self.rest.take() else {
            return Ok(None);
        };
        let bytes = text.text.as_bytes();
        let start = bytes
            .iter()
            .take_while(|byte| self.coalesce && self.is_separator(**byte))
            .count();
        if start == bytes.len() && self.coalesce {
            return Ok(None);
        }
        let (mut word, mut quote, mut at) = (Vec::new(), None, start);
        while let Some(byte) = bytes.get(at).copied() {
            match (byte, quote) {
                (b'\\', _) => {
                    at += 1;
                    word.push(*bytes.get(at).ok_or(text.from(start))?);
                }
                (byte, Some(open)) if byte == open => quote = None,
                (b'"' | b'\'', None) if self.quotes => quote = Some(byte),
                (byte, None) if self.is_separator(byte) => {
                    self.rest = self.after_separator(text, at);
                    return Ok(Some((text_of(word), text.slice(start..at))));
                }
                _ => word.push(byte),
            }
            at += 1;
        }
        if quote.is_some() {
            return Err(text.from(start));
        }
        Ok(Some((text_of(word), text.from(start))))
    }

    /// Returns the text after the separator at `at`. For a value of [`Self::quoted`], skips further
    /// separators, and returns `None` if no text follows them.
    fn after_separator(&self, text: TextSpan<'a>, at: usize) -> Option<TextSpan<'a>> {
        let rest = text.from(at + 1);
        if !self.coalesce {
            return Some(rest);
        }
        let skip = rest
            .text
            .bytes()
            .take_while(|byte| self.is_separator(*byte))
            .count();
        Some(rest.from(skip)).filter(|rest| !rest.text.is_empty())
    }
}

/// Returns a word as text. The word is still valid UTF-8, because only whole ASCII characters were
/// removed from it.
fn text_of(word: Vec<u8>) -> String {
    String::from_utf8(word).unwrap_or_default()
}

/// Resolves the C escapes in a word (`cunescape_length`). An unknown escape stays unchanged.
/// Escapes can produce bytes that are not valid UTF-8.
pub(in crate::check) fn unescape(word: &str) -> Vec<u8> {
    let bytes = word.as_bytes();
    let digits = |at: usize, count: usize, base: u32| {
        let text = word.get(at..at + count)?;
        let value = text
            .chars()
            .all(|c| c.is_digit(base))
            .then(|| u32::from_str_radix(text, base).ok())??;
        // C's char keeps the lower 8 bits.
        (value != 0).then_some(u8::try_from(value & 0xff).unwrap_or(0))
    };
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let (value, length) = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'a')) => (Some(0x07), 2),
            (b'\\', Some(b'b')) => (Some(0x08), 2),
            (b'\\', Some(b'f')) => (Some(0x0c), 2),
            (b'\\', Some(b'n')) => (Some(b'\n'), 2),
            (b'\\', Some(b'r')) => (Some(b'\r'), 2),
            (b'\\', Some(b't')) => (Some(b'\t'), 2),
            (b'\\', Some(b'v')) => (Some(0x0b), 2),
            (b'\\', Some(b's')) => (Some(b' '), 2),
            (b'\\', Some(same @ (b'\\' | b'"' | b'\''))) => (Some(*same), 2),
            (b'\\', Some(b'x')) => (digits(at + 2, 2, 16), 4),
            (b'\\', Some(b'0'..=b'7')) => (digits(at + 1, 3, 8), 4),
            _ => (None, 1),
        };
        match value {
            Some(value) => {
                out.push(value);
                at += length;
            }
            // An unknown escape consists of two characters. The second character does not begin
            // another escape.
            None if bytes[at] == b'\\' && at + 1 < bytes.len() => {
                out.extend(&bytes[at..at + 2]);
                at += 2;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// Returns whether systemd accepts bytes as UTF-8 (`utf8_is_valid`). systemd also refuses Unicode's
/// noncharacters.
pub(in crate::check) fn is_utf8(bytes: &[u8]) -> bool {
    let no_character =
        |c: char| ('\u{fdd0}'..='\u{fdef}').contains(&c) || u32::from(c) & 0xfffe == 0xfffe;
    std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(no_character))
}

/// Removes repeated slashes, and a slash at the end (`path_kill_slashes`).
pub(in crate::check) fn clean_path(path: &str) -> String {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", names.join("/"))
}

/// Returns whether a path is not empty, is short enough for the kernel, and contains no `//` and no
/// component `.` or `..` (`path_is_safe`).
pub(in crate::check) fn is_safe_path(path: &str) -> bool {
    let odd = |name: &str| matches!(name, "." | "..");
    !path.is_empty() && path.len() <= 4096 && !path.contains("//") && !path.split('/').any(odd)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> (Vec<&str>, Option<&str>) {
        let (words, rest) = Words::of(TextSpan::whole(text)).all();
        (
            words.into_iter().map(|word| word.text).collect(),
            rest.map(|rest| rest.text),
        )
    }

    fn extracted(mut words: Extract<'_>) -> Result<Vec<String>, ()> {
        let mut out = Vec::new();
        while let Some((word, _)) = words.next().map_err(|_| ())? {
            out.push(word);
        }
        Ok(out)
    }

    #[test]
    fn a_quote_is_recognized_only_at_the_start_of_a_word() {
        assert_eq!(
            words(r#"a "b c" 'd' e"f"#),
            (vec!["a", "b c", "d", "e\"f"], None)
        );
        assert_eq!(words(r#"a "b"c"#), (vec!["a"], Some("\"b\"c")));
        assert_eq!(words(r#""a\"b" c\ d"#), (vec!["a\\\"b", "c\\ d"], None));
        assert_eq!(words(r"a b\"), (vec!["a"], Some(r"b\")));
        assert_eq!(words("'a"), (vec![], Some("'a")));
    }

    #[test]
    fn extracting_joins_quoted_pieces() {
        let quoted = |text| extracted(Extract::quoted(TextSpan::whole(text), " ,"));
        assert_eq!(
            quoted(r#"a"b c"d,, e\ f "#),
            Ok(vec!["ab cd".into(), "e f".into()])
        );
        assert_eq!(
            (quoted("\"a"), quoted(r"a\"), quoted(" , ")),
            (Err(()), Err(()), Ok(vec![]))
        );
        let fields = |text| extracted(Extract::fields(TextSpan::whole(text), ":"));
        assert_eq!(
            fields("1::2:"),
            Ok(["1", "", "2", ""].map(String::from).to_vec())
        );
        assert_eq!(fields(""), Ok(vec![String::new()]));
    }

    #[test]
    fn unknown_escapes_stay_unchanged() {
        assert_eq!(unescape(r"\x41\101\s\q\xZZ\0\\"), b"AA \\q\\xZZ\\0\\");
        assert!(!is_utf8(&unescape(r"\xff")) && is_utf8(&unescape(r"\xc3\xa9")));
    }

    proptest! {
        #[test]
        fn the_places_of_words_are_within_their_value(text in "[a\\\\ \"'\\té]{0,24}") {
            let value = TextSpan::whole(&text);
            for word in Words::of(value) {
                prop_assert_eq!(&text[word.span()], word.text);
            }
            let _ = unescape(&text);
            let mut words = Extract::quoted(value, " \t");
            while let Ok(Some((_, span))) = words.next() {
                prop_assert_eq!(&text[span.span()], span.text);
            }
        }
    }
}
