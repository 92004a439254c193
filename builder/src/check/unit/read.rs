//! How systemd 219 reads a unit file (src/shared/conf-parser.c): lines, sections, assignments. A line may be long: that it
//! was read in pieces of 2047 bytes ended with Red Hat's 219-48 (#1503106; the changelog of its systemd.spec).

use super::super::finding::Finding;
use super::super::text::Part;

/// `KEY=VALUE` in a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assignment<'a> {
    pub(super) section: Part<'a>,
    pub(super) key: Part<'a>,
    pub(super) value: Part<'a>,
}

/// What a unit file says, and what 219 cannot read of it.
#[derive(Debug, Default)]
pub(super) struct Reading<'a> {
    pub(super) sections: Vec<Part<'a>>,
    pub(super) assignments: Vec<Assignment<'a>>,
    pub(super) findings: Vec<Finding>,
}

/// Whether a line ends within an escape, so that the next line belongs to it.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// The text with each continued line joined to the next: as long as before, so that places stay what they are.
pub(super) fn join(text: &str) -> (String, Vec<Finding>) {
    let mut joined = text.as_bytes().to_vec();
    let mut findings = Vec::new();
    let mut within = false;
    for line in Part::whole(text).lines() {
        let span = line.span();
        if within && comment(line.text) {
            findings.push(
                Finding::error("unit/comment-in-continuation", line.trim(), "a comment in the middle of a value")
                    .does("219 takes it for a part of the value; later releases skip it")
                    .instead("move it above the first line"),
            );
        }
        let goes_on = continues(line.text);
        if goes_on && !within && comment(line.text) {
            findings.push(
                Finding::error("unit/comment-swallows", span.end - 1..span.end, "the comment ends with a \\")
                    .does("the next line is part of the comment, too")
                    .instead("take the \\ away"),
            );
        }
        within = goes_on;
        if goes_on {
            // The backslash, and the line's end with it.
            let ends = if text[span.end..].starts_with('\r') { 3 } else { 2 };
            joined.iter_mut().skip(span.end - 1).take(ends).for_each(|byte| *byte = b' ');
        }
    }
    (String::from_utf8_lossy(&joined).into_owned(), findings)
}

/// Reads the text that [`join`] made.
pub(super) fn read(joined: &str) -> Reading<'_> {
    let mut reading = Reading::default();
    let mut section: Option<Part<'_>> = None;
    for line in Part::whole(joined).lines().map(Part::trim) {
        if line.text.is_empty() || comment(line.text) {
            continue;
        }
        if line.text.starts_with(".include ") {
            reading.findings.push(
                Finding::warning("unit/include", line, ".include is gone from later releases")
                    .instead("use a drop-in: NAME.service.d/10-own.conf"),
            );
        } else if let Some(name) = line.strip("[") {
            let Some(name) = name.text.strip_suffix(']').map(|text| name.cut(0..text.len())) else {
                reading.findings.push(
                    Finding::error("unit/section-header", line, format!("`{}` is no section header", line.text))
                        .does("219 does not load the unit at all")
                        .instead("write [NAME], and nothing behind it"),
                );
                continue;
            };
            reading.sections.push(name);
            section = Some(name);
        } else if let Some((key, value)) = line.split_once('=') {
            match section {
                Some(section) => {
                    reading.assignments.push(Assignment { section, key: key.trim(), value: value.trim() });
                }
                None => reading.findings.push(
                    Finding::error("unit/no-section", line, "a setting before the first section")
                        .does("ignored")
                        .instead("put it under [Unit], [Service] or [Install]"),
                ),
            }
        } else {
            reading.findings.push(
                Finding::error("unit/no-assignment", line, "neither a section nor KEY=VALUE")
                    .does("219 does not load the unit at all")
                    .instead("end the line before with a \\ if this belongs to it"),
            );
        }
    }
    reading
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn joining_moves_nothing(text in "[a\\\\#=\\r\\n\\[\\]é ]{0,60}") {
            let (joined, _) = join(&text);
            prop_assert_eq!(joined.len(), text.len());
            for assignment in read(&joined).assignments {
                prop_assert_eq!(&joined[assignment.value.span()], assignment.value.text);
            }
        }
    }
}
