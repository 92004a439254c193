//! How much: numbers, sizes, times and limits, as systemd 219 takes them (src/core/load-fragment.c, src/shared/util.c,
//! src/shared/time-util.c).

use super::super::finding::Finding;
use super::super::text::Part;
use super::value::expect;

pub(super) fn integer(form: &str, value: Part<'_>, out: &mut Vec<Finding>) {
    let bounds = form
        .trim_start_matches("int:")
        .split_once(':')
        .and_then(|(low, high)| Some((low.parse::<i64>().ok()?, high.parse().ok()?)));
    let Some((low, high)) = bounds else { return };
    let right = value.text.parse::<i64>().is_ok_and(|number| (low..=high).contains(&number));
    expect(right, "value-form", value, &format!("a whole number from {low} to {high}"), out);
}

pub(super) fn is_size(text: &str) -> bool {
    let digits = text.trim_end_matches('B').trim_end_matches(|c| "KMGTPE".contains(c));
    text == "infinity"
        || (!digits.is_empty() && digits.parse::<f64>().is_ok() && digits.starts_with(|c: char| c.is_ascii_digit()))
}

/// A limit, or two as `soft:hard`, which is a back-port of RHEL 7 (lnykryn/systemd-rhel@0ae56652, src/core/load-fragment.c,
/// parse_rlimit_range): numbers of things without a suffix (rlim_parse_u64), bytes (rlim_parse_size), times (rlim_parse_sec).
pub(super) fn limit(form: &str, value: Part<'_>, out: &mut Vec<Finding>) {
    let (one, expected): (fn(&str) -> bool, _) = match form {
        "limit-bytes" => (is_size, "a number of bytes, as in 1048576, 512M or infinity"),
        "limit-time" => (is_span, "a time, as in 10, 5min or infinity"),
        _ => (
            |text| text == "infinity" || text.parse::<u64>().is_ok(),
            "a number without a suffix, as in 65536, or infinity",
        ),
    };
    let mut parts = value.split(':').map(|part| part.text.trim());
    let right = parts.next().is_some_and(one) && parts.next().is_none_or(one) && parts.next().is_none();
    expect(right, "value-form", value, expected, out);
}

/// What `parse_sec` takes.
pub(in super::super) fn is_span(text: &str) -> bool {
    const UNITS: [&str; 32] = [
        "seconds", "second", "sec", "s", "minutes", "minute", "min", "m", "months", "month", "msec", "ms", "hours",
        "hour", "hr", "h", "days", "day", "d", "weeks", "week", "w", "years", "year", "y", "usec", "us", "", "", "",
        "", "",
    ];
    let mut rest = text.trim();
    if rest == "infinity" {
        return true;
    }
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        if rest[..digits].parse::<f64>().is_err() {
            return false;
        }
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        if !UNITS.contains(&&rest[..letters]) {
            return false;
        }
        rest = rest[letters..].trim_start();
        any = true;
    }
    any
}
