//! Checks values whose specifiers systemd 219 does not expand (src/shared/conf-parser.c,
//! src/core/load-fragment.c).

use super::context::Context;
use super::value_error::{ValueResult, condition, expect};
use super::{capability, hint};
use crate::check::systemd::quantities::{self, Limit, LimitValue};
use crate::check::systemd::words::{is_blank, is_utf8};
use crate::check::systemd::{calendar, number, time};

/// Returns whether systemd 219 accepts a value of this type, or `None` if this module does not
/// handle the type.
pub(super) fn check(value_type: &str, text: &str, context: &Context) -> Option<ValueResult> {
    Some(match value_type {
        "bool" => expect(
            number::boolean(text).is_some(),
            "unit/value-word",
            "yes or no",
        ),
        "condition-bool" => expect(
            text.is_empty() || number::boolean(condition(text)).is_some(),
            "unit/value-word",
            "yes or no, optionally prefixed with |, ! or |!",
        ),
        "string" => value(is_utf8(text.as_bytes()), "valid UTF-8 text"),
        "label" | "interface" => Ok(()),
        "path" => expect(
            text.starts_with('/') && is_utf8(text.as_bytes()),
            "unit/relative-path",
            "an absolute path, which begins with /",
        ),
        "mode" => value(
            number::mode(text).is_some(),
            "permissions in octal, such as 0750",
        ),
        "signal" => value(
            number::is_signal(text),
            "the name or number of a signal, such as SIGTERM",
        ),
        "sec" => value(
            time::sec(text).is_some(),
            "a time such as 10, 5min 20s or infinity",
        ),
        "timer" => value(
            text.is_empty() || time::sec(text).is_some(),
            "a time such as 10, 5min 20s or 1d",
        ),
        "nsec" => value(time::nsec(text).is_some(), "a time such as 50us or 100000"),
        "calendar" => expect(
            text.is_empty() || calendar::is_calendar(text),
            "unit/calendar",
            &hint::calendar(text),
        ),
        "capabilities" => value(
            capability::is_text(text),
            "capabilities in the form of libcap, such as cap_net_raw=ep",
        ),
        "bus-policy" => value(is_bus_policy(text), "a name and one of see, talk, own"),
        _ => return amount(value_type, text).or_else(|| number(value_type, text, context)),
    })
}

fn value(right: bool, expected: &str) -> ValueResult {
    expect(right, "unit/value-form", expected)
}

fn number(value_type: &str, text: &str, context: &Context) -> Option<ValueResult> {
    Some(match value_type {
        "int" => value(number::int(text).is_some(), "a whole number"),
        "long" => value(number::long(text).is_some(), "a whole number"),
        "unsigned" => value(
            number::unsigned(text).is_some(),
            "a whole number that is not negative",
        ),
        "cpu-priority" => value(
            number::int(text).is_some_and(|number| context.priorities.contains(&number)),
            "a number from 1 to 99, on a line after CPUSchedulingPolicy=fifo or rr; the other policies allow only 0",
        ),
        _ => return limit(value_type, text).or_else(|| bounded(value_type, text)),
    })
}

/// Checks numbers of bytes, percentages, and the settings of a device (accesses, weight and
/// bandwidth).
fn amount(value_type: &str, text: &str) -> Option<ValueResult> {
    let weight = |text: &str| {
        number::unsigned_long(text).is_some_and(|weight| (10..=1000).contains(&weight))
    };
    Some(match value_type {
        "size" => value(
            quantities::size(text, 1024).is_some(),
            "a number of bytes such as 1048576, 512K or 8M",
        ),
        "line-max" => value(
            text.is_empty() || quantities::size(text, 1024).is_some_and(|bytes| bytes >= 79),
            "at least 79 bytes, such as 48K",
        ),
        "memory" => value(
            matches!(text, "" | "infinity")
                || quantities::size(text, 1024).is_some_and(is_positive),
            "a number of bytes such as 512M or 2G, or infinity",
        ),
        "tasks" => value(
            quantities::is_tasks_max(text),
            "a number, a percentage, or infinity",
        ),
        "quota" => value(
            quantities::is_quota(text),
            "a percentage of one CPU, such as 20% or 200%",
        ),
        "device" => value(
            is_device(text),
            "a path below /dev, char-NAME or block-NAME, followed by the allowed accesses (r, w, m), as in /dev/null rw",
        ),
        "device-weight" => value(
            on_device(text, weight),
            "a path below /dev and a weight from 10 to 1000",
        ),
        "device-bandwidth" => value(
            on_device(text, |size| {
                quantities::size(size, 1000).is_some_and(is_positive)
            }),
            "a path below /dev and bytes per second, as in /dev/sda 5M",
        ),
        _ => return None,
    })
}

/// Checks resource limits.
fn limit(value_type: &str, text: &str) -> Option<ValueResult> {
    let (kind, expected) = match value_type {
        "limit" => (
            Limit::Count,
            "a number without a suffix (such as 65536), infinity, or SOFT:HARD",
        ),
        "limit-bytes" => (
            Limit::Bytes,
            "a number of bytes (such as 1048576 or 512M), infinity, or SOFT:HARD",
        ),
        "limit-seconds" => (
            Limit::Seconds,
            "a time (such as 10 or 5min), infinity, or SOFT:HARD",
        ),
        "limit-microseconds" => (
            Limit::Microseconds,
            "a time (such as 100ms), infinity, or SOFT:HARD; a number without a unit means microseconds",
        ),
        "limit-nice" => (
            Limit::Nice,
            "a nice level with its sign (such as -5 or +5), or a number from 0 to 40",
        ),
        _ => return None,
    };
    Some(match quantities::limit(text, kind) {
        LimitValue::Taken => Ok(()),
        LimitValue::Unreadable => value(false, expected),
        LimitValue::Reversed => value(false, "SOFT:HARD, where SOFT is not above HARD"),
    })
}

/// Checks a number of the type `int:LOW:HIGH` or `weight:LOW:HIGH`. A weight can be empty and has
/// no sign.
fn bounded(value_type: &str, text: &str) -> Option<ValueResult> {
    let mut parts = value_type.split(':');
    let kind = parts
        .next()
        .filter(|kind| ["int", "weight"].contains(kind))?;
    let low: i64 = parts.next()?.parse().ok()?;
    let high: i64 = parts.next()?.parse().ok()?;
    let number = match kind {
        "int" => number::int(text).map(i64::from),
        _ => number::unsigned_long(text).and_then(|number| i64::try_from(number).ok()),
    };
    let right = number.is_some_and(|number| (low..=high).contains(&number))
        || (kind == "weight" && text.is_empty());
    Some(value(
        right,
        &format!("a whole number from {low} to {high}"),
    ))
}

/// Returns whether a number of bytes is positive. systemd 219 reads the number as a signed number.
fn is_positive(bytes: u64) -> bool {
    i64::try_from(bytes).is_ok_and(|bytes| bytes > 0)
}

/// Returns the first word, and the text after it.
fn first_word(text: &str) -> (&str, &str) {
    let length = text.bytes().take_while(|byte| !is_blank(*byte)).count();
    (
        &text[..length],
        text[length..].trim_start_matches([' ', '\t', '\n', '\r']),
    )
}

fn is_bus_policy(text: &str) -> bool {
    ["see", "talk", "own"].contains(&first_word(text).1)
}

fn is_device(text: &str) -> bool {
    let (device, rights) = first_word(text);
    let named = ["/dev/", "block-", "char-"]
        .iter()
        .any(|prefix| device.starts_with(prefix));
    text.is_empty() || (named && rights.chars().all(|c| "rwm".contains(c)))
}

fn on_device(text: &str, takes: impl Fn(&str) -> bool) -> bool {
    let (device, amount) = first_word(text);
    let below =
        device.starts_with('/') && device.split('/').find(|name| !name.is_empty()) == Some("dev");
    text.is_empty() || (below && takes(amount))
}
