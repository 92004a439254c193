//! Several lines of CapabilityBoundingSet=. RHEL's 219 joins them by OR, including those with a ~
//! (src/core/load-fragment.c, config_parse_capability_set): the set without A OR the set without B
//! is the whole set.

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
                    "a second CapabilityBoundingSet=, with ~",
                )
                .effect("219 adds all but these to the set: what the lines before removed is back")
                .fix("write one line with all that is to go"),
            );
        }
        // An empty line removes all capabilities, so the line after it is the first one that
        // counts.
        narrowed = !value.text.is_empty() && value.text != "~";
    }
    out
}
