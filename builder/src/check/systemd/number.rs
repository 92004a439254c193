//! Parses numbers as C's strtol and strtoul do (`safe_atoi` and similar functions in
//! src/shared/util.c).

use super::words::Extract;
use crate::check::text::TextSpan;

/// A number at the beginning of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) struct Scan<'a> {
    negative: bool,
    /// The absolute value, saturated if it does not fit.
    magnitude: u128,
    /// The text after the number.
    pub(in crate::check) rest: &'a str,
}

/// Returns whether C's isspace counts a character as white space.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// Parses the number at the beginning of a string, after optional white space and an optional sign.
/// With base 0, `0x10` is 16 and `010` is 8.
pub(in crate::check) fn scan(text: &str, base: u32) -> Option<Scan<'_>> {
    let trimmed = text.trim_start_matches(is_space);
    let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let (base, digits) = match (base, unsigned.as_bytes()) {
        (0, [b'0', b'x' | b'X', digit, ..]) if digit.is_ascii_hexdigit() => (16, &unsigned[2..]),
        (0, [b'0', ..]) => (8, unsigned),
        (0, _) => (10, unsigned),
        (base, _) => (base, unsigned),
    };
    let length = digits
        .find(|c: char| !c.is_digit(base))
        .unwrap_or(digits.len());
    let add = |sum: u128, c: char| {
        sum.saturating_mul(u128::from(base))
            .saturating_add(u128::from(c.to_digit(base).unwrap_or(0)))
    };
    (length > 0).then(|| Scan {
        negative: trimmed.starts_with('-'),
        magnitude: digits[..length].chars().fold(0, add),
        rest: &digits[length..],
    })
}

impl Scan<'_> {
    /// Returns the value that strtol and strtoll return, or `None` if the value is out of range.
    pub(in crate::check) fn signed(self) -> Option<i64> {
        let value = i128::try_from(self.magnitude).ok()?;
        i64::try_from(if self.negative { -value } else { value }).ok()
    }

    /// Returns the value that strtoul and strtoull return, or `None` if the value is out of range.
    /// Both functions wrap a negative number.
    pub(in crate::check) fn unsigned(self) -> Option<u64> {
        let value = u64::try_from(self.magnitude).ok()?;
        Some(if self.negative {
            value.wrapping_neg()
        } else {
            value
        })
    }
}

/// Parses a number that makes up the whole string.
fn whole(text: &str) -> Option<Scan<'_>> {
    scan(text, 0).filter(|scan| scan.rest.is_empty())
}

/// Parses an int (`safe_atoi`).
pub(in crate::check) fn int(text: &str) -> Option<i32> {
    whole(text)?.signed()?.try_into().ok()
}

/// Parses a long (`safe_atoli`).
pub(in crate::check) fn long(text: &str) -> Option<i64> {
    whole(text)?.signed()
}

/// Parses an unsigned int (`safe_atou`).
pub(in crate::check) fn unsigned(text: &str) -> Option<u32> {
    whole(text)?.unsigned()?.try_into().ok()
}

/// Parses an unsigned 64-bit number (`safe_atou64`).
pub(in crate::check) fn unsigned_long(text: &str) -> Option<u64> {
    whole(text)?.unsigned()
}

/// Parses a boolean (`parse_boolean`).
pub(in crate::check) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// Parses permissions in octal (`config_parse_mode`).
pub(in crate::check) fn mode(text: &str) -> Option<i64> {
    let scan = scan(text, 8).filter(|scan| scan.rest.is_empty())?;
    scan.signed().filter(|mode| (0..=0o7777).contains(mode))
}

/// Parses a range: one number, or two numbers with a `-` between them (`parse_range`).
pub(in crate::check) fn range(text: &str) -> Option<(u32, u32)> {
    let mut fields = Extract::fields(TextSpan::whole(text), "-");
    let low = unsigned(&fields.next().ok()??.0)?;
    match fields.rest() {
        None => Some((low, low)),
        Some(rest) => Some((low, unsigned(rest.text)?)),
    }
}

/// The signal names (`signal_from_string_try_harder`), without SIG.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Returns whether a string denotes a signal: as a name with or without SIG, as a number, or as
/// `RTMIN+N`.
pub(in crate::check) fn is_signal(text: &str) -> bool {
    let one = |text: &str| {
        let (number, first) = text
            .strip_prefix("RTMIN+")
            .map_or((text, 0), |number| (number, 34));
        // For `RTMIN+N`, systemd adds N to 34, the number of SIGRTMIN. The sum is a C int, which
        // can overflow. systemd accepts the sum if it is a signal number.
        let sum = unsigned(number).map(|number| number.cast_signed().wrapping_add(first));
        SIGNALS.contains(&text) || sum.is_some_and(|sum| (1..65).contains(&sum))
    };
    one(text) || text.strip_prefix("SIG").is_some_and(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        assert_eq!(
            ["0x10", "010", "+5", " 5", "-0"].map(int),
            [Some(16), Some(8), Some(5), Some(5), Some(0)]
        );
        assert_eq!(
            ["", "0x", "08", "5 ", "5a", "2147483648"].map(int),
            [None; 6]
        );
        assert_eq!(unsigned("-1"), None);
        assert_eq!(unsigned("-18446744073709551615"), Some(1));
        assert_eq!(unsigned_long("-1"), Some(u64::MAX));
        assert_eq!(unsigned_long("18446744073709551616"), None);
        assert_eq!(range("0-3"), Some((0, 3)));
        assert_eq!(["", "-", "3-", "0-3-5", "a"].map(range), [None; 5]);
        assert!(
            ["TERM", "SIGTERM", "15", "RTMIN+3", "SIGRTMIN+30", "64"]
                .into_iter()
                .all(is_signal)
        );
        assert!(
            !["", "term", "RTMIN", "RTMIN+31", "65", "0", "SIGSIGTERM"]
                .into_iter()
                .any(is_signal)
        );
    }
}
