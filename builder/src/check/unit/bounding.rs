//! Checks the lines of CapabilityBoundingSet= together. RHEL's systemd 219 combines the lines with
//! OR, including the lines with a `~` (src/core/load-fragment.c, config_parse_capability_set). For
//! example, all capabilities except A, combined with all capabilities except B, are all
//! capabilities.

use super::loaded::Line;
use crate::check::finding::Finding;

/// Finds lines that restore capabilities that earlier lines removed.
pub(super) fn check(lines: &[Line<'_>]) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut narrowed = false;
    for line in lines
        .iter()
        .filter(|line| line.assignment.key.text == "CapabilityBoundingSet")
    {
        let value = line.assignment.value;
        if value.text.starts_with('~') && narrowed {
            out.push(
                Finding::error(
                    "unit/capability-merge",
                    value,
                    "a second CapabilityBoundingSet= has a ~",
                )
                .effect("systemd adds all other capabilities to the set, which restores the capabilities that earlier lines removed")
                .fix("write one line with all capabilities to remove"),
            );
        }
        // A line without a value resets the set, so only the lines after it count.
        narrowed = !value.text.is_empty() && value.text != "~";
    }
    out
}
