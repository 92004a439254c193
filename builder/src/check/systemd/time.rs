//! Parses durations (src/shared/time-util.c).

use super::number::scan;

const SECOND: u64 = 1_000_000;

/// The units of time, in microseconds, in the order in which systemd tries them.
const UNITS: [(&str, u64); 27] = [
    ("seconds", SECOND),
    ("second", SECOND),
    ("sec", SECOND),
    ("s", SECOND),
    ("minutes", 60 * SECOND),
    ("minute", 60 * SECOND),
    ("min", 60 * SECOND),
    ("months", 2_629_800 * SECOND),
    ("month", 2_629_800 * SECOND),
    ("msec", 1000),
    ("ms", 1000),
    ("m", 60 * SECOND),
    ("hours", 3600 * SECOND),
    ("hour", 3600 * SECOND),
    ("hr", 3600 * SECOND),
    ("h", 3600 * SECOND),
    ("days", 86400 * SECOND),
    ("day", 86400 * SECOND),
    ("d", 86400 * SECOND),
    ("weeks", 604_800 * SECOND),
    ("week", 604_800 * SECOND),
    ("w", 604_800 * SECOND),
    ("years", 31_557_600 * SECOND),
    ("year", 31_557_600 * SECOND),
    ("y", 31_557_600 * SECOND),
    ("usec", 1),
    ("us", 1),
];

/// Returns a duration in microseconds. A number without a unit means seconds (`parse_sec`).
pub(in crate::check) fn sec(text: &str) -> Option<u64> {
    span(text, SECOND, 1, &[])
}

/// Returns a duration in microseconds. A number without a unit means microseconds (`parse_time`).
pub(in crate::check) fn usec(text: &str) -> Option<u64> {
    span(text, 1, 1, &[])
}

/// Returns a duration in nanoseconds (`parse_nsec`).
pub(in crate::check) fn nsec(text: &str) -> Option<u64> {
    span(text, 1, 1000, &[("nsec", 1), ("ns", 1)])
}

/// Parses a sum of numbers with units. systemd 219 does not detect an overflow, so the sum wraps.
fn span(text: &str, bare: u64, factor: u64, more: &[(&str, u64)]) -> Option<u64> {
    let blank = [' ', '\t', '\n', '\r'];
    let mut rest = text.trim_start_matches(blank);
    if let Some(behind) = rest.strip_prefix("infinity") {
        return behind
            .trim_start_matches(blank)
            .is_empty()
            .then_some(u64::MAX);
    }
    let (mut sum, mut any) = (0u64, false);
    loop {
        rest = rest.trim_start_matches(blank);
        if rest.is_empty() {
            return any.then_some(sum);
        }
        let whole = scan(rest, 10);
        let behind = whole.map_or(rest, |whole| whole.rest);
        let number = whole
            .map_or(Some(0), |whole| {
                whole.signed().filter(|number| *number >= 0)
            })?
            .cast_unsigned();
        let (mut part, mut behind_number) = (0, behind);
        let mut digits = 0;
        if let Some(fraction) = behind.strip_prefix('.') {
            let scan = scan(fraction, 10)?;
            part = scan.signed().filter(|number| *number >= 0)?.cast_unsigned();
            behind_number = scan.rest;
            digits = fraction.len() - behind_number.len();
        } else if whole.is_none() {
            return None;
        }
        let unit_text = behind_number.trim_start_matches(blank);
        let known = UNITS
            .iter()
            .map(|(name, unit)| (*name, unit * factor))
            .chain(more.iter().copied());
        let (length, unit) = known
            .into_iter()
            .find(|(name, _)| unit_text.starts_with(name))
            .map_or((0, bare), |(name, unit)| (name.len(), unit));
        part = (0..digits).fold(part.wrapping_mul(unit), |part, _| part / 10);
        sum = sum
            .wrapping_add(number.wrapping_mul(unit))
            .wrapping_add(part);
        rest = &unit_text[length..];
        any = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_systemd_219_reads_them() {
        assert_eq!(sec("5min 20s"), Some(320 * SECOND));
        assert_eq!(
            [
                sec("1.5"),
                sec(".5"),
                sec("5 5"),
                sec("infinity "),
                sec("1m30")
            ]
            .map(|time| time.is_some()),
            [true; 5]
        );
        assert_eq!(
            [
                sec("5."),
                sec("5sek"),
                sec("5ns"),
                sec("-1"),
                sec(""),
                sec("infinityx"),
                sec("5x")
            ],
            [None; 7]
        );
        assert_eq!(
            (nsec("5ns"), nsec("1us"), nsec("3")),
            (Some(5), Some(1000), Some(3))
        );
        assert_eq!(usec("3"), Some(3));
    }
}
