//! Parses amounts: bytes, percentages and limits (src/shared/util.c; `parse_rlimit_range` of
//! src/core/load-fragment.c).

use super::number::{self, Scan, scan};
use super::time;
use super::words::Extract;
use crate::check::text::TextSpan;

/// Parses a number of bytes, written as one or more numbers with the suffixes E, P, T, G, M, K and
/// B in this order (`parse_size`). `base` is 1024 or 1000.
pub(in crate::check) fn size(text: &str, base: u64) -> Option<u64> {
    const SUFFIXES: [&str; 8] = ["E", "P", "T", "G", "M", "K", "B", ""];
    let (mut rest, mut first, mut sum) = (text, 0, 0u64);
    loop {
        let number = scan(rest, 10)?;
        let whole = number
            .signed()
            .filter(|number| *number >= 0)?
            .cast_unsigned();
        let (mut behind, mut fraction) = (number.rest, 0.0);
        if let Some(digits) = behind.strip_prefix('.') {
            behind = digits;
            if digits.starts_with(|c: char| c.is_ascii_digit()) {
                let scan = scan(digits, 10)?;
                behind = scan.rest;
                let length = i32::try_from(digits.len() - behind.len()).ok()?;
                // As in systemd 219, digits that a double cannot represent are lost.
                #[expect(clippy::cast_precision_loss)]
                let value = scan.unsigned()? as f64;
                fraction = value / 10f64.powi(length);
            }
        }
        behind = behind.trim_start_matches([' ', '\t', '\n', '\r']);
        let index = (first..SUFFIXES.len()).find(|index| behind.starts_with(SUFFIXES[*index]))?;
        let factor = base.pow(u32::try_from(6usize.saturating_sub(index)).ok()?);
        if whole + u64::from(fraction > 0.0) > u64::MAX / factor {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let part = (fraction * factor as f64) as u64;
        sum = sum.checked_add((whole * factor).wrapping_add(part))?;
        rest = &behind[SUFFIXES[index].len()..];
        first = index + 1;
        if rest.is_empty() {
            return Some(sum);
        }
    }
}

/// The kind of a limit. Each kind has its own parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) enum Limit {
    Count,
    Bytes,
    Seconds,
    Microseconds,
    /// Either a nice level with a sign, or the kernel's own value of the limit without a sign.
    Nice,
}

/// The verdict of systemd 219 on a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) enum LimitValue {
    /// systemd accepts the limit.
    Taken,
    /// systemd cannot parse the limit.
    Unreadable,
    /// The soft limit is above the hard limit.
    Reversed,
}

/// Parses one limit, or two limits as `soft:hard`. systemd 219 ignores the text after a second
/// colon.
pub(in crate::check) fn limit(text: &str, kind: Limit) -> LimitValue {
    let mut fields = Extract::fields(TextSpan::whole(text), ":");
    let mut next = || {
        fields
            .next()
            .map(|field| field.map(|(text, _)| one_limit(&text, kind)))
    };
    match (next(), next()) {
        (Ok(Some(Some(_))), Ok(None)) => LimitValue::Taken,
        (Ok(Some(Some(soft))), Ok(Some(Some(hard)))) if soft <= hard => LimitValue::Taken,
        (Ok(Some(Some(_))), Ok(Some(Some(_)))) => LimitValue::Reversed,
        _ => LimitValue::Unreadable,
    }
}

fn one_limit(text: &str, kind: Limit) -> Option<u64> {
    if text == "infinity" && kind != Limit::Nice {
        return Some(u64::MAX);
    }
    match kind {
        Limit::Count => number::unsigned_long(text).filter(|number| *number < u64::MAX),
        Limit::Bytes => size(text, 1024).filter(|bytes| *bytes < u64::MAX),
        Limit::Seconds => time::sec(text).map(|usec| {
            if usec == u64::MAX {
                usec
            } else {
                usec.div_ceil(1_000_000)
            }
        }),
        Limit::Microseconds => time::usec(text),
        Limit::Nice => match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(level), _) => number::unsigned_long(level)
                .filter(|level| *level < 20)
                .map(|level| 20 - level),
            (_, Some(level)) => number::unsigned_long(level)
                .filter(|level| *level <= 20)
                .map(|level| 20 + level),
            _ => number::unsigned_long(text).filter(|raw| *raw <= 40),
        },
    }
}

/// Returns whether a value of `CPUQuota=` is valid. The value may be empty. A value that is not
/// empty must begin with a number above 0 and end with `%`. The text between the number and the `%`
/// can be arbitrary (`sscanf` with `%lf`).
pub(in crate::check) fn is_quota(text: &str) -> bool {
    text.is_empty()
        || (text.ends_with('%')
            && double(text).is_some_and(|percent| percent > 0.0 || percent.is_nan()))
}

/// Returns the floating-point number at the beginning of a string, as scanf reads the number.
fn double(text: &str) -> Option<f64> {
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let sign = if trimmed.starts_with('-') { -1.0 } else { 1.0 };
    let lower = unsigned.to_ascii_lowercase();
    if lower.starts_with("inf") {
        // If an `i` follows `inf`, scanf reads on, and then requires all of `infinity`.
        return (!lower.starts_with("infi") || lower.starts_with("infinity"))
            .then_some(sign * f64::INFINITY);
    }
    if lower.starts_with("nan") {
        return Some(f64::NAN);
    }
    let hex = lower.strip_prefix("0x");
    let (digits, radix, exponent) =
        hex.map_or((lower.as_str(), 10, 'e'), |digits| (digits, 16, 'p'));
    let length = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(length);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(
            rest.find(|c: char| !c.is_digit(radix))
                .unwrap_or(rest.len()),
        ),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let base = f64::from(radix);
    let value = |digits: &str| {
        digits.chars().fold(0.0, |sum, c| {
            sum * base + f64::from(c.to_digit(radix).unwrap_or(0))
        })
    };
    let mantissa = value(whole) + value(fraction) / base.powi(i32::try_from(fraction.len()).ok()?);
    let Some(rest) = rest.strip_prefix(exponent) else {
        return Some(sign * mantissa);
    };
    // scanf reads and ignores an exponent without digits.
    let power = scan(rest, 10)
        .filter(|_| !rest.starts_with(' '))
        .and_then(Scan::signed)
        .unwrap_or(0);
    let power = f64::from(i32::try_from(power).unwrap_or(if power < 0 { -9999 } else { 9999 }));
    Some(
        sign * mantissa
            * if radix == 16 {
                power.exp2()
            } else {
                10f64.powf(power)
            },
    )
}

/// Parses a percentage: a whole number up to 100, followed by `%` (`parse_percent`).
fn percent(text: &str) -> Option<u32> {
    number::unsigned(text.strip_suffix('%')?).filter(|percent| *percent <= 100)
}

/// Returns whether a value of `TasksMax=` is valid: a number or a percentage above 0, `infinity`,
/// or an empty string.
pub(in crate::check) fn is_tasks_max(text: &str) -> bool {
    let number = percent(text)
        .map(u64::from)
        .or_else(|| number::unsigned_long(text));
    matches!(text, "" | "infinity") || number.is_some_and(|number| number > 0 && number < u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_limits_are_read_as_systemd_219_reads_them() {
        assert_eq!(
            [size("1G 500M", 1024), size("10B", 1024), size("1.5K", 1000)],
            [Some(1_598_029_824), Some(10), Some(1500)]
        );
        assert_eq!(
            [
                size("10KiB", 1024),
                size("10KB", 1024),
                size("5 5", 1024),
                size("", 1024),
                size("16E", 1024)
            ],
            [None; 5]
        );
        assert_eq!(limit("1024:2048", Limit::Count), LimitValue::Taken);
        assert_eq!(limit("1:2:x", Limit::Count), LimitValue::Taken);
        assert_eq!(limit("2:1", Limit::Count), LimitValue::Reversed);
        for text in ["64K", "5:", ":5", "", "-1", "1:x"] {
            assert_eq!(limit(text, Limit::Count), LimitValue::Unreadable, "{text}");
        }
        assert_eq!(limit("64K:infinity", Limit::Bytes), LimitValue::Taken);
        assert_eq!(
            [
                limit("-20", Limit::Nice),
                limit("+19", Limit::Nice),
                limit("40", Limit::Nice)
            ],
            [LimitValue::Taken; 3]
        );
        assert_eq!(
            [limit("+20", Limit::Nice), limit("infinity", Limit::Nice)],
            [LimitValue::Unreadable; 2]
        );
        assert!(
            [
                "20%", "0.5%", "5 x%", "1e3%", "0x5%", "inf%", "nan%", "8E%", ""
            ]
            .into_iter()
            .all(is_quota)
        );
        assert!(!["20", "0%", "-5%", "x%", "%"].into_iter().any(is_quota));
        assert!(["10%", "100", "infinity", ""].into_iter().all(is_tasks_max));
        assert!(!["0", "0%", "101%", "x", "-1"].into_iter().any(is_tasks_max));
    }
}
