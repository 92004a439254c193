//! Checks CPUAffinity= (`parse_cpu_set_and_warn` of src/shared/util.c).

use super::assignment::Assignment;
use super::context::Context;
use super::split;
use crate::check::finding::Finding;
use crate::check::systemd::number;
use crate::check::systemd::words::Extract;

/// Checks a set of CPUs. If systemd 219 cannot parse the value in a unit file, systemd refuses the
/// whole unit (`config_parse_exec_cpu_affinity`).
pub(super) fn check(
    assignment: &Assignment<'_>,
    context: &Context,
    out: &mut Vec<Finding>,
) -> usize {
    let mut words = Extract::quoted(assignment.value, " \t\n\r,");
    let what = if context.kind.is_empty() {
        "systemd stops reading the file here"
    } else {
        "systemd refuses to load the unit"
    };
    let expected = "write numbers below 1024, or ranges of such numbers, as in 0 2-3";
    loop {
        let (text, span) = match words.next() {
            Ok(Some(word)) => word,
            Ok(None) => return 1,
            Err(rest) => {
                out.push(split::quote(rest).effect(what));
                return 0;
            }
        };
        match number::range(&text) {
            Some((low, high)) if low <= high && high < 1024 => {}
            Some((low, high)) if low < 1024 && high < 1024 => {
                let finding = Finding::error(
                    "unit/value-form",
                    span,
                    format!("the range {low}-{high} is empty"),
                );
                out.push(
                    finding
                        .effect("systemd ignores the range")
                        .fix("write the lower number first"),
                );
            }
            _ => {
                let finding = Finding::error(
                    "unit/value-form",
                    span,
                    format!(
                        "`{}` is neither a CPU number nor a range of CPUs",
                        span.text
                    ),
                );
                out.push(finding.effect(what).fix(expected));
                return 0;
            }
        }
    }
}
