//! Checks the syntax and the bounds of values in sysctl.d.

use super::key::in_table;
use super::setting::Setting;
use crate::check::finding::Finding;
use crate::check::systemd::number;
use crate::check::tables;
use crate::check::text::TextSpan;

/// The effect of a value that the kernel does not accept.
const REFUSED: &str = "the kernel refuses the value";

pub(super) fn check(setting: &Setting<'_>) -> Option<Finding> {
    let value = setting.value;
    let table = in_table(&setting.key)?;
    let value_type = tables::SYSCTL_TYPES.get(table.as_str()).copied();
    match value_type {
        Some("text") => return text_value(setting),
        // An empty list of ports is valid (proc_do_large_bitmap).
        Some("ports") if value.text.is_empty() || ports(value.text).is_some() => return None,
        _ => {}
    }
    if value.text.is_empty() {
        let message = format!("{} has no value", setting.key);
        return Some(wrong_value(
            setting,
            message,
            REFUSED,
            "a value after the =",
        ));
    }
    let comment = value.text.find(['#', ';']).map(|at| value.from(at));
    if value_type == Some("ports") {
        return Some(comment.map_or_else(
            || {
                let message = "the value is not a list of ports".to_owned();
                let expected = "ports and ranges without spaces, as in 2379-2381,10250";
                wrong_value(setting, message, REFUSED, expected)
            },
            refused_comment,
        ));
    }
    numbers(setting, value_type, comment)
}

/// Checks a value of one or more numbers. For each key, the kernel reads a fixed count of numbers.
/// If a blank follows these numbers, the rest of the line has no effect. The reason is that systemd
/// writes the rest with a second call, and the kernel ignores a call at a position other than 0
/// (kernel/sysctl.c, __do_proc_dointvec and proc_first_pos_non_zero_ignore).
fn numbers(
    setting: &Setting<'_>,
    value_type: Option<&str>,
    comment: Option<TextSpan<'_>>,
) -> Option<Finding> {
    let value = setting.value;
    let before = comment.map_or(value, |comment| {
        value.slice(0..value.text.len() - comment.text.len())
    });
    let count = value_type.and_then(count);
    let words: Vec<TextSpan<'_>> = before.words().collect();
    let read = &words[..count.unwrap_or(words.len()).min(words.len())];
    let found: Option<Vec<i128>> = read.iter().map(|word| number(word.text)).collect();
    if let Some(comment) = comment {
        let glued = !before.text.ends_with([' ', '\t']);
        if glued || read.len() < count.unwrap_or(1) {
            return Some(refused_comment(comment));
        }
    }
    let Some(found) = found else {
        let first_is_number = read.first().is_some_and(|word| number(word.text).is_some());
        let effect = if first_is_number {
            "the kernel reads the numbers at the start of the value, and refuses or ignores the rest"
        } else {
            REFUSED
        };
        return Some(wrong_value(
            setting,
            format!("{} accepts only numbers", setting.key),
            effect,
            "whole numbers without units",
        ));
    };
    if let Some(finding) =
        value_type.and_then(|value_type| check_numbers(setting, value_type, &found))
    {
        return Some(finding);
    }
    if let Some(extra) = words.get(read.len()) {
        let count = read.len();
        let finding = Finding::error(
            "sysctl/value",
            *extra,
            format!(
                "{} accepts {count} {}, found {}",
                setting.key,
                plural(count),
                words.len()
            ),
        );
        return Some(
            finding
                .effect("the kernel ignores the rest of the line")
                .fix(format!("expected {count} {}", plural(count))),
        );
    }
    comment.map(ignored_comment)
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "number" } else { "numbers" }
}

/// Returns how many numbers the kernel reads for a key of this type.
fn count(value_type: &str) -> Option<usize> {
    match value_type {
        "range" => Some(2),
        _ if value_type.contains(':') => Some(1),
        _ => value_type.strip_prefix("rising ")?.parse().ok(),
    }
}

/// Parses a number as the kernel does. The kernel reads 0x10 as 16 and 010 as 8, and reads a number
/// without a sign as an unsigned long (kernel/sysctl.c, proc_get_long).
fn number(word: &str) -> Option<i128> {
    if word.starts_with('-') {
        return number::long(word).map(i128::from);
    }
    number::unsigned_long(word)
        .filter(|_| word.starts_with(|c: char| c.is_ascii_digit()))
        .map(i128::from)
}

fn wrong_value(setting: &Setting<'_>, message: String, does: &str, expected: &str) -> Finding {
    Finding::error("sysctl/value", setting.value, message)
        .effect(does)
        .fix(format!("expected {expected}"))
}

const NO_COMMENT: &str = "a comment cannot follow a value";
const OWN_LINE: &str = "move the comment to its own line";

fn refused_comment(span: TextSpan<'_>) -> Finding {
    Finding::error("sysctl/comment-behind", span, NO_COMMENT)
        .effect("systemd 219 writes the comment with the value, the kernel refuses the value, and systemd-sysctl fails")
        .fix(OWN_LINE)
}

fn ignored_comment(span: TextSpan<'_>) -> Finding {
    Finding::warning("sysctl/comment-behind", span, NO_COMMENT)
        .effect("systemd 219 writes the comment with the value, and the kernel ignores the text that follows the number")
        .fix(OWN_LINE)
}

/// Checks numbers of a type that has bounds (`range`, `rising COUNT` or `LOW:HIGH`). `numbers` must
/// not contain more numbers than the type allows.
fn check_numbers(setting: &Setting<'_>, value_type: &str, numbers: &[i128]) -> Option<Finding> {
    let value = setting.value;
    let count = count(value_type)?;
    if numbers.len() < count {
        return Some(wrong_value(
            setting,
            format!(
                "{} accepts {count} numbers, found {}",
                setting.key,
                numbers.len()
            ),
            "the missing numbers keep their previous values",
            &format!("{count} numbers"),
        ));
    }
    // The kernel requires two ports in ascending order (net/ipv4/sysctl_net_ipv4.c,
    // ipv4_local_port_range).
    if value_type == "range"
        && !matches!(numbers[..], [low, high] if 0 < low && low <= high && high <= 65535)
    {
        return Some(wrong_value(
            setting,
            "the value is not a range of ports".into(),
            REFUSED,
            "two ports from 1 to 65535, where the second is not below the first",
        ));
    }
    if value_type.starts_with("rising ") && !numbers.is_sorted() {
        let message = format!("the numbers of {} are not in ascending order", setting.key);
        let finding = Finding::warning("sysctl/not-rising", value, message);
        return Some(
            finding
                .effect(
                    "the kernel accepts the numbers in any order, so a lower limit can exceed an upper limit",
                )
                .fix("write the numbers from low to high"),
        );
    }
    let (low, high) = value_type.split_once(':')?;
    let bounds = low.parse::<i128>().ok()?..=high.parse().ok()?;
    (!bounds.contains(&numbers[0])).then(|| {
        wrong_value(
            setting,
            format!("{} = {} is out of bounds", setting.key, value.text),
            REFUSED,
            &format!("{low} to {high}"),
        )
    })
}

fn text_value(setting: &Setting<'_>) -> Option<Finding> {
    let (key, value) = (setting.key.as_str(), setting.value);
    let missing = |what: &str, instead: &str| {
        Some(
            Finding::error("sysctl/value", value, format!("kernel 3.10 has no {what}"))
                .effect(REFUSED)
                .fix(instead),
        )
    };
    match (key, value.text) {
        ("net.ipv4.tcp_congestion_control" | "net.core.default_qdisc", "") => Some(
            Finding::error("sysctl/value", value, "the value is empty")
                .effect(REFUSED)
                .fix("remove the line"),
        ),
        ("net.ipv4.tcp_congestion_control", "bbr" | "bbr2") => {
            missing("BBR", "keep the default, cubic")
        }
        ("net.core.default_qdisc", "cake" | "fq_pie") => missing(
            "queueing discipline of that name",
            "keep the default, pfifo_fast, or write fq or fq_codel",
        ),
        _ => None,
    }
}

/// Parses a list of ports into ranges. The list has no blanks, and can end with a comma
/// (kernel/sysctl.c, proc_do_large_bitmap).
pub(super) fn ports(text: &str) -> Option<Vec<(u64, u64)>> {
    let port = |text: &str| number(text).and_then(|port| u64::try_from(port).ok());
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (port(low)?, port(high)?);
        (low <= high && high <= 65535).then_some((low, high))
    };
    text.strip_suffix(',')
        .unwrap_or(text)
        .split(',')
        .map(range)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::sysctl::check;

    /// Returns the findings for one setting, each as its severity, message and effect.
    fn said(line: &str) -> String {
        let shown = |finding: Finding| {
            let diagnostic = finding.diagnostic;
            format!(
                "{:?}: {} | {}",
                diagnostic.severity, diagnostic.message, diagnostic.label
            )
        };
        let all: Vec<String> = check(line).into_iter().map(shown).collect();
        all.join("\n")
    }

    /// The expected results come from a kernel whose sysctl functions are the same as those of
    /// kernel 3.10.0-1160. Each value was written to that kernel with the same calls that systemd
    /// makes.
    #[test]
    fn a_value_is_checked_as_the_kernel_checks_it() {
        for accepted in [
            "net.ipv4.ip_local_port_range = 40000 40000",
            "net.ipv4.ip_local_reserved_ports = 1-3,5,",
            "net.ipv4.ip_local_reserved_ports =",
            "kernel.core_pattern =",
            "vm.swappiness = 0x1",
            // The value in the next line is the kernel's own default.
            "kernel.shmmax = 18446744073692774399",
            "fs.file-max = 18446744073709551615",
            "net.core.somaxconn = 65535",
        ] {
            assert_eq!(said(accepted), "", "{accepted}");
        }
        for (ignored, what) in [
            ("net.ipv4.ip_forward = 1 # keep", "follows the number"),
            ("vm.swappiness = 1 ; keep", "follows the number"),
            ("net.ipv4.tcp_rmem = 1 2 3 # x", "follows the number"),
            ("vm.swappiness = 1 5", "ignores the rest of the line"),
            ("vm.swappiness = 1 percent", "ignores the rest of the line"),
        ] {
            assert!(said(ignored).contains(what), "{ignored}: {}", said(ignored));
        }
        for refused in [
            "net.ipv4.ip_forward = 1;",
            "net.ipv4.ip_forward =",
            "net.ipv4.tcp_rmem = 4096 # x",
            "net.ipv4.ip_local_reserved_ports = 1-3, 5",
            "net.ipv4.ip_local_reserved_ports = 1-3 # e",
            "net.ipv4.ip_local_port_range = 2 1",
            "net.core.default_qdisc =",
            "vm.max_map_count = 256k",
            "net.core.somaxconn = 65536",
            "net.core.rmem_max = 4294967295",
            "kernel.kexec_load_disabled = 0",
        ] {
            let said = said(refused);
            assert!(
                said.starts_with("Error") && said.contains("the kernel refuses the value"),
                "{refused}: {said}"
            );
        }
        let one = said("net.ipv4.ip_local_port_range = 33000");
        assert!(one.contains("keep their previous values"), "{one}");
    }
}
