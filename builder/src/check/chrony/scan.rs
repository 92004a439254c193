//! Determines what the C library's sscanf reads at the start of a string. chronyd reads every
//! number with sscanf, and reads the text after the number as the next option.

use super::words::is_space;

/// An sscanf conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// `%d`, a whole number within these bounds.
    Int(i32, i32),
    /// `%u`, an unsigned number other than 0.
    Unsigned,
    /// `%lf`, a floating-point number.
    Float,
    /// `%4s`, at most four characters.
    Four,
    Word,
    /// Exactly this word, ignoring case.
    Literal(&'static str),
    /// One of these words, ignoring case. sscanf reads the word with `%4s`.
    Choice(&'static str),
}

impl Scan {
    /// Returns the conversion for a word of the table.
    pub(super) fn of(word: &'static str) -> Self {
        match word {
            "u" => Self::Unsigned,
            "lf" => Self::Float,
            "4s" => Self::Four,
            "s" => Self::Word,
            "d" => Self::Int(i32::MIN, i32::MAX),
            word if word.contains('|') => Self::Choice(word),
            word => match word
                .strip_prefix('d')
                .and_then(|bounds| bounds.split_once('-'))
            {
                Some((least, most)) => Self::Int(
                    least.parse().unwrap_or(i32::MIN),
                    most.parse().unwrap_or(i32::MAX),
                ),
                None => Self::Literal(word),
            },
        }
    }

    /// Describes the text that the conversion expects, for a message.
    pub(super) fn expects(self) -> String {
        match self {
            Self::Int(i32::MIN, _) => "a whole number".to_owned(),
            Self::Int(least, most) => format!("a whole number from {least} to {most}"),
            Self::Unsigned => "a number above 0".to_owned(),
            Self::Float => "a number".to_owned(),
            Self::Four => "up to four characters".to_owned(),
            Self::Word => "a word".to_owned(),
            Self::Literal(word) => word.to_owned(),
            Self::Choice(words) => format!("one of: {}", words.replace('|', ", ")),
        }
    }

    /// Returns the number of bytes that the conversion reads from the start of `text`, including
    /// leading white space. Returns `None` if the text does not match.
    pub(super) fn take(self, text: &str) -> Option<usize> {
        let rest = text.trim_start_matches(is_space);
        let skipped = text.len() - rest.len();
        let word = rest.split(is_space).next().unwrap_or_default();
        let taken = match self {
            Self::Int(least, most) => {
                let length = integer(rest)?;
                // The C library calls strtol and keeps the lower 32 bits of the result.
                let number = rest[..length].trim_start_matches('+').parse::<i64>();
                let negative = rest.starts_with('-');
                let number = number.unwrap_or(if negative { i64::MIN } else { i64::MAX });
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "the C library also truncates the number"
                )]
                let number = number as i32;
                (least..=most).contains(&number).then_some(length)?
            }
            Self::Unsigned => {
                let length = integer(rest)?;
                let digits = rest[..length].trim_start_matches(['+', '-']);
                let number = digits.parse::<u64>().unwrap_or(u64::MAX);
                (number & u64::from(u32::MAX) != 0).then_some(length)?
            }
            Self::Float => float(rest)?,
            Self::Four => first_four_bytes(word).filter(|length| *length > 0)?,
            Self::Word => (!word.is_empty()).then_some(word.len())?,
            Self::Literal(known) => word.eq_ignore_ascii_case(known).then_some(word.len())?,
            Self::Choice(words) => {
                let length = first_four_bytes(word)?;
                words
                    .split('|')
                    .any(|known| known.eq_ignore_ascii_case(&word[..length]))
                    .then_some(length)?
            }
        };
        Some(skipped + taken)
    }
}

/// Returns the length of a word's longest prefix that has at most four bytes and ends at a
/// character boundary.
fn first_four_bytes(word: &str) -> Option<usize> {
    (0..=word.len().min(4))
        .rev()
        .find(|at| word.is_char_boundary(*at))
}

/// Returns the length of a whole number with an optional sign.
fn integer(text: &str) -> Option<usize> {
    let sign = usize::from(text.starts_with(['+', '-']));
    let digits = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then_some(sign + digits)
}

/// Returns the length of the floating-point number at the start of a string, as glibc's scanf reads
/// the number. scanf accepts the same numbers as strtod, and also an exponent without digits.
fn float(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let at = usize::from(text.starts_with(['+', '-']));
    let begins = |word: &str| {
        bytes
            .get(at..at + word.len())
            .is_some_and(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    };
    if begins("nan") {
        return Some(at + 3);
    }
    if begins("inf") {
        return if begins("infi") {
            begins("infinity").then_some(at + 8)
        } else {
            Some(at + 3)
        };
    }
    let hexadecimal = begins("0x");
    let mut end = at + if hexadecimal { 2 } else { 0 };
    let is_digit = |byte: u8| {
        if hexadecimal {
            byte.is_ascii_hexdigit()
        } else {
            byte.is_ascii_digit()
        }
    };
    let (mut digits, mut point) = (0, false);
    while let Some(byte) = bytes.get(end).copied() {
        match byte {
            b'.' if !point => point = true,
            byte if is_digit(byte) => digits += 1,
            _ => break,
        }
        end += 1;
    }
    if digits == 0 {
        return None;
    }
    let exponent = if hexadecimal { b'p' } else { b'e' };
    if bytes
        .get(end)
        .is_some_and(|byte| byte.to_ascii_lowercase() == exponent)
    {
        end += 1;
        end += usize::from(matches!(bytes.get(end), Some(b'+' | b'-')));
        end += bytes[end..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strings, each with the number of bytes that glibc reads as a number.
    const FLOATS: &[(&str, Option<usize>)] = &[
        ("1", Some(1)),
        ("1e", Some(2)),
        ("1e+", Some(3)),
        ("1e5x", Some(3)),
        (".5", Some(2)),
        ("5.", Some(2)),
        (".", None),
        ("-.", None),
        ("0x10", Some(4)),
        ("0x", None),
        ("0x1p", Some(4)),
        ("0x.8", Some(4)),
        ("0xg", None),
        ("INF", Some(3)),
        ("infinit", None),
        ("infinityx", Some(8)),
        ("nan(1)", Some(3)),
        ("-inf", Some(4)),
        ("1.2.3", Some(3)),
        ("++1", None),
        ("- 1", None),
        ("", None),
        (".e5", None),
        ("0X1P+2z", Some(6)),
        ("1p3", Some(1)),
        ("  7 8", Some(3)),
    ];

    /// The expected lengths are the results of glibc's sscanf in a test program.
    #[test]
    fn numbers_are_read_as_glibc_reads_them() {
        for &(text, length) in FLOATS {
            assert_eq!(Scan::Float.take(text), length, "{text}");
        }
        let (any, stratum) = (Scan::of("d"), Scan::of("d1-15"));
        assert_eq!(
            (
                any.take("0x10"),
                any.take(".5"),
                any.take("-5abc"),
                any.take("")
            ),
            (Some(1), None, Some(2), None)
        );
        assert_eq!(
            (
                stratum.take("15"),
                stratum.take("16"),
                stratum.take("4294967297")
            ),
            (Some(2), None, Some(10))
        );
        assert_eq!(
            (
                Scan::Unsigned.take("0"),
                Scan::Unsigned.take("4294967296"),
                Scan::Unsigned.take("-1")
            ),
            (None, None, Some(2))
        );
        assert_eq!(
            (Scan::Four.take("GPSPPS"), Scan::Four.take(" é€")),
            (Some(4), Some(3))
        );
        assert_eq!(
            (
                Scan::of("none|ntp").take("NTPx"),
                Scan::of("none|ntp").take("ntp x")
            ),
            (None, Some(3))
        );
    }
}
