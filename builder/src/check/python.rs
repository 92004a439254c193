//! Parses numbers as Python 2.7 does, because pykickstart and firewalld run on Python 2.7.

/// Parses a number as `int(text, radix)` does. Python accepts a number beyond 64 bits. For such a
/// number, this function returns `i64::MAX`, or `-i64::MAX` if the number is negative.
pub(super) fn int(text: &str, radix: u32) -> Option<i64> {
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text[1..].trim_start()),
        b'+' => (false, text[1..].trim_start()),
        _ => (false, text),
    };
    let prefix = match radix {
        16 => ["0x", "0X"],
        8 => ["0o", "0O"],
        2 => ["0b", "0B"],
        _ => ["", ""],
    };
    let digits = prefix
        .iter()
        .find_map(|prefix| digits.strip_prefix(prefix))
        .unwrap_or(digits);
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).unwrap_or(i64::MAX);
    Some(if negative { -number } else { number })
}

/// Parses a number as `int(text)` does.
pub(super) fn decimal(text: &str) -> Option<i64> {
    int(text, 10)
}

/// Parses a number as `int(text, 0)` does: the prefix sets the radix, and a leading 0 without a
/// letter means octal.
pub(super) fn any_radix(text: &str) -> Option<i64> {
    let digits = text
        .trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}')
        .trim_start_matches(['+', '-']);
    let lower = digits.trim_start().to_ascii_lowercase();
    let radix = match lower.as_bytes() {
        [b'0', b'x', ..] => 16,
        [b'0', b'b', ..] => 2,
        [b'0', _, ..] => 8,
        _ => 10,
    };
    int(text, radix)
}

/// Parses a number as optparse does: decimal, 0x, 0b, or octal after a 0.
pub(super) fn optparse(text: &str) -> Option<i64> {
    let lower = text.get(..2).unwrap_or_default().to_ascii_lowercase();
    match lower.as_str() {
        "0x" => int(text, 16),
        "0b" => int(
            Some(&text[2..])
                .filter(|rest| !rest.is_empty())
                .unwrap_or("0"),
            2,
        ),
        _ if text.starts_with('0') => int(text, 8),
        _ => int(text, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected numbers are the results of Python 2.7.18.
    #[test]
    fn numbers_are_read_as_python_reads_them() {
        for (text, number) in [
            ("5", Some(5)),
            ("-5", Some(-5)),
            ("- 5", Some(-5)),
            (" 7 ", Some(7)),
            ("\u{b}5", Some(5)),
            ("0x10", Some(16)),
            ("0b11", Some(3)),
            ("0b", Some(0)),
            ("0b ", None),
            ("010", Some(8)),
            ("-010", Some(-10)),
            (" 010", Some(10)),
            ("0o17", Some(15)),
            ("08", None),
            ("0x", None),
            ("-0x5", None),
            ("5.5", None),
            ("1e3", None),
            ("", None),
            ("-", None),
            ("5L", None),
            ("99999999999999999999", Some(i64::MAX)),
        ] {
            assert_eq!(optparse(text), number, "{text}");
        }
        let cases = [
            ("0x1", Some(1)),
            ("-0x1", Some(-1)),
            ("010", Some(8)),
            ("08", None),
            ("0", Some(0)),
            ("1f", None),
        ];
        for (text, number) in cases {
            assert_eq!(any_radix(text), number, "{text}");
        }
        assert_eq!((decimal("010"), decimal("0x1")), (Some(10), None));
    }
}
