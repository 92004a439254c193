//! The forms and bounds of values.

use super::key::in_table;
use super::setting::Setting;
use crate::check::finding::Finding;
use crate::check::systemd::number;
use crate::check::tables;
use crate::check::text::TextSpan;

pub(super) fn check(setting: &Setting<'_>) -> Option<Finding> {
    let value = setting.value;
    let wrong = |message: String, does: &str, expected: &str| {
        Some(wrong_value(setting, message, does, expected))
    };
    if value.text.is_empty() {
        return wrong(
            format!("{} has no value", setting.key),
            "the kernel refuses it",
            "a value after the =",
        );
    }
    let table = in_table(&setting.key)?;
    let form = tables::SYSCTL_FORMS.get(table.as_str()).copied();
    if form == Some("text") {
        return text_value(setting);
    }
    if let Some(at) = value.text.find(['#', ';']) {
        return Some(comment_behind(value.from(at)));
    }
    if form == Some("ports") {
        return (ports(value.text).is_none()).then_some(()).and_then(|()| {
            wrong(
                "this is not a list of ports".into(),
                "the kernel refuses it",
                "ports and ranges, as in 2379-2381,10250",
            )
        });
    }
    // The kernel reads 0x10 as 16 and 010 as 8 (proc_get_long of kernel/sysctl.c).
    let numbers: Option<Vec<i64>> = value
        .words()
        .map(|word| number::long(word.text).filter(|_| !word.text.starts_with('+')))
        .collect();
    let Some(numbers) = numbers else {
        return wrong(
            format!("{} takes numbers", setting.key),
            "the kernel refuses it",
            "whole numbers, without units",
        );
    };
    if form == Some("range")
        && !matches!(numbers[..], [low, high] if 0 < low && low < high && high <= 65535)
    {
        return wrong(
            "this is not a range of ports".into(),
            "the kernel refuses it",
            "two ports, the second above the first",
        );
    }
    check_bounds(setting, form?, &numbers)
}

fn wrong_value(setting: &Setting<'_>, message: String, does: &str, expected: &str) -> Finding {
    Finding::error("sysctl/value", setting.value, message)
        .effect(does)
        .fix(format!("expected {expected}"))
}

fn comment_behind(place: TextSpan<'_>) -> Finding {
    Finding::error(
        "sysctl/comment-behind",
        place,
        "there are no comments after a value",
    )
    .effect("219 writes it with the value, the kernel refuses it, and systemd-sysctl fails")
    .fix("move it to a line of its own")
}

/// Checks numbers of a form that has bounds: `rising COUNT`, or `LOW:HIGH`.
fn check_bounds(setting: &Setting<'_>, form: &str, numbers: &[i64]) -> Option<Finding> {
    let value = setting.value;
    if let Some(count) = form
        .strip_prefix("rising ")
        .and_then(|count| count.parse::<usize>().ok())
    {
        if numbers.len() != count {
            return Some(wrong_value(
                setting,
                format!(
                    "{} takes {count} numbers, found {}",
                    setting.key,
                    numbers.len()
                ),
                "the numbers that are missing stay as they were",
                &format!("{count} numbers"),
            ));
        }
        if !numbers.is_sorted() {
            let message = format!("the numbers of {} do not rise", setting.key);
            let finding = Finding::warning("sysctl/not-rising", value, message);
            return Some(
                finding
                    .effect("the kernel takes them as they are: what is between them never happens")
                    .fix("write low, middle, high"),
            );
        }
    } else if let Some((low, high)) = form.split_once(':') {
        let bounds = low.parse::<i64>().ok()?..=high.parse().ok()?;
        if numbers.len() != 1 || !bounds.contains(&numbers[0]) {
            return Some(wrong_value(
                setting,
                format!("{} = {} is out of bounds", setting.key, value.text),
                "the kernel refuses it",
                &format!("{low} to {high}"),
            ));
        }
    }
    None
}

fn text_value(setting: &Setting<'_>) -> Option<Finding> {
    let (key, value) = (setting.key.as_str(), setting.value);
    let missing = |what: &str, instead: &str| {
        Some(
            Finding::error("sysctl/value", value, format!("kernel 3.10 has no {what}"))
                .effect("the kernel refuses it")
                .fix(instead),
        )
    };
    match (key, value.text) {
        ("net.ipv4.tcp_congestion_control", "bbr" | "bbr2") => missing("BBR", "leave it at cubic"),
        ("net.core.default_qdisc", "cake" | "fq_pie") => missing(
            "such queue",
            "leave it at pfifo_fast, or write fq or fq_codel",
        ),
        _ => None,
    }
}

pub(super) fn ports(text: &str) -> Option<Vec<(u64, u64)>> {
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        (low <= high && high <= 65535).then_some((low, high))
    };
    text.split(',').map(range).collect()
}
