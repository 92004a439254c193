//! Parses a unit file as systemd 219 does (`config_parse` of src/shared/conf-parser.c): lines,
//! sections and assignments. A line can be longer than 2047 bytes. Before 219-48, Red Hat's systemd
//! read a longer line in pieces of that length (#1503106; changelog of Red Hat's systemd.spec).

use std::ops::Range;

use super::assignment::Assignment;
use crate::check::finding::Finding;
use crate::check::systemd::words::strip;
use crate::check::text::TextSpan;

/// The program that reads a file, and the kind of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// PID 1 reads a unit.
    Unit,
    /// PID 1 reads a drop-in of a unit.
    DropIn,
    /// A daemon reads its own configuration.
    Daemon,
}

impl Reader {
    /// Returns the reaction of systemd 219 to a line that it cannot parse.
    fn stops(self) -> &'static str {
        match self {
            Self::Unit => "systemd refuses to load the unit",
            Self::DropIn => "systemd stops reading this drop-in",
            Self::Daemon => "systemd stops reading here, and does not read the later files",
        }
    }
}

/// The contents of a unit file, and the findings about the lines that systemd 219 cannot parse.
#[derive(Debug, Default)]
pub(super) struct ParsedUnit<'a> {
    pub(super) sections: Vec<TextSpan<'a>>,
    pub(super) assignments: Vec<Assignment<'a>>,
    pub(super) findings: Vec<Finding>,
    /// The position where systemd stops reading, or `None` if it reads the whole file.
    pub(super) stopped: Option<usize>,
}

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Returns whether a line ends with an unescaped backslash, so that the next line continues this
/// line. A line that ends with a backslash and a carriage return is not continued.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn comment(line: &str) -> bool {
    strip(TextSpan::whole(line)).text.starts_with(['#', ';'])
}

/// The text of a file in which each continued line is joined to the next. Joining does not change
/// the length of the text, so positions stay valid.
#[derive(Debug)]
pub(in crate::check) struct JoinedLines {
    pub(super) text: String,
    pub(super) findings: Vec<Finding>,
    /// The position of the file's last backslash, if the file ends within a continued line. systemd
    /// 219 never reads that line.
    pub(super) dropped: Option<Range<usize>>,
}

/// Joins the continued lines of a file.
pub(super) fn join(text: &str) -> JoinedLines {
    let mut joined = text.as_bytes().to_vec();
    let (mut findings, mut dropped) = (Vec::new(), None);
    let (mut within, mut start) = (false, 0);
    for line in TextSpan::whole(text).split('\n') {
        let span = line.span();
        findings.extend(check_continuation(line, within));
        let goes_on = continues(line.text);
        if !within {
            start = span.start;
        }
        within = goes_on;
        if goes_on {
            // Blank out the backslash and the line end.
            joined
                .iter_mut()
                .skip(span.end - 1)
                .take(2)
                .for_each(|byte| *byte = b' ');
            if matches!(&text[span.end..], "" | "\n") && !comment(&text[start..]) {
                findings.push(
                    Finding::warning(
                        "unit/continuation",
                        span.end - 1..span.end,
                        "the file ends within a continued line",
                    )
                    .effect("systemd 219 drops the line")
                    .fix("remove the \\"),
                );
                joined.iter_mut().skip(start).for_each(|byte| *byte = b' ');
                dropped = Some(span.end - 1..span.end);
            }
        }
    }
    JoinedLines {
        text: String::from_utf8_lossy(&joined).into_owned(),
        findings,
        dropped,
    }
}

/// Returns the findings about the continuation of a line. `within` is true if the line itself
/// continues the previous line.
fn check_continuation(line: TextSpan<'_>, within: bool) -> Vec<Finding> {
    let span = line.span();
    let mut findings = Vec::new();
    if within && comment(line.text) {
        findings.push(
            Finding::warning(
                "unit/comment-in-continuation",
                strip(line),
                "a comment is in the middle of a value",
            )
            .effect("systemd 219 reads the comment as part of the value; later releases skip the comment")
            .fix("move the comment above the setting"),
        );
    }
    if line.text.strip_suffix('\r').is_some_and(continues) {
        findings.push(
            Finding::warning(
                "unit/continuation",
                span.end - 2..span.end,
                "a carriage return follows the \\",
            )
            .effect("systemd 219 does not continue the line")
            .fix("end each line with only a line feed; dos2unix converts a file"),
        );
    }
    if continues(line.text) && !within && comment(line.text) {
        findings.push(
            Finding::warning(
                "unit/comment-swallows",
                span.end - 1..span.end,
                "the comment ends with a \\",
            )
            .effect("systemd 219 reads the next line as part of the comment")
            .fix("remove the \\"),
        );
    }
    findings
}

/// Parses the text that [`join`] returned. systemd 219 skips the lines in sections for which
/// `known` returns false.
pub(super) fn parse(joined: &str, reader: Reader, known: impl Fn(&str) -> bool) -> ParsedUnit<'_> {
    let mut parsed = ParsedUnit::default();
    let mut section = None;
    let mut ignored = false;
    let mut marked = false;
    for line in TextSpan::whole(joined)
        .split('\n')
        .flat_map(|line| line.split('\0'))
    {
        // One byte order mark is allowed in the file, at the start of any line.
        let bare = line.strip(BYTE_ORDER_MARK).filter(|_| !marked);
        marked |= bare.is_some();
        let line = strip(bare.unwrap_or(line));
        if line.text.is_empty() || comment(line.text) {
            continue;
        }
        if line.text.starts_with(".include ") {
            parsed.findings.push(include(line, reader));
        } else if let Some(name) = line.strip("[") {
            let Some(name) = name
                .text
                .strip_suffix(']')
                .map(|text| name.slice(0..text.len()))
            else {
                parsed.stopped.get_or_insert(line.span().start);
                parsed.findings.push(
                    Finding::error(
                        "unit/section-header",
                        line,
                        format!("`{}` is not a section header", line.text),
                    )
                    .effect(reader.stops())
                    .fix("write [NAME], and nothing after it"),
                );
                continue;
            };
            parsed.sections.push(name);
            ignored = !known(name.text);
            section = (!ignored).then_some(name);
        } else if let Some(section) = section {
            if let Some((key, value)) = line.split_once('=') {
                parsed.assignments.push(Assignment {
                    section,
                    key: strip(key),
                    value: strip(value),
                });
            } else {
                parsed.stopped.get_or_insert(line.span().start);
                parsed.findings.push(no_assignment(line, reader));
            }
        } else if !ignored {
            parsed.findings.push(without_section(line));
        }
    }
    parsed
}

fn without_section(line: TextSpan<'_>) -> Finding {
    Finding::error(
        "unit/no-section",
        line,
        "the setting is before the first section",
    )
    .effect("systemd ignores the line")
    .fix("put the setting below the header of its section, such as [Service]")
}

fn no_assignment(line: TextSpan<'_>, reader: Reader) -> Finding {
    let finding = Finding::error(
        "unit/no-assignment",
        line,
        "the line is neither a section header nor KEY=VALUE",
    );
    finding
        .effect(reader.stops())
        .fix("if this line belongs to the previous line, end the previous line with a \\")
}

fn include(line: TextSpan<'_>, reader: Reader) -> Finding {
    match reader {
        Reader::Unit => Finding::warning(
            "unit/include",
            line,
            "later systemd releases do not support .include",
        ),
        _ => Finding::error("unit/include", line, ".include is not allowed here")
            .effect("systemd ignores the line"),
    }
    .fix("write a drop-in such as NAME.service.d/10-own.conf instead")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn joining_lines_preserves_all_places(text in "[a\\\\#=\\r\\n\\[\\]é \u{feff}\\x00]{0,60}") {
            let joined = join(&text).text;
            prop_assert_eq!(joined.len(), text.len());
            for assignment in parse(&joined, Reader::Unit, |_| true).assignments {
                prop_assert_eq!(&joined[assignment.value.span()], assignment.value.text);
            }
        }
    }

    #[test]
    fn lines_outside_known_sections_are_not_checked() {
        let known = |name: &str| name == "Service";
        let parse = |text| parse(text, Reader::Unit, known);
        assert_eq!(parse("Junk\n[Service]\nA=1\n").stopped, None);
        assert_eq!(parse("[X-Own]\nJunk\n[Other]\nJunk\n").stopped, None);
        assert_eq!(parse("[Service]\nJunk\n").stopped, Some(10));
        assert_eq!(
            parse("\u{feff}[Service]\n\u{a0}A=1\nB = 2\0C=3")
                .assignments
                .len(),
            3
        );
    }
}
