//! Determines which lines of a unit file systemd 219 accepts.

use recipes::diagnostic::nearest;

use super::assignment::Assignment;
use super::context::Context;
use super::loaded::Line;
use super::parse::{self, Reader};
use super::path::{is_drop_in, name_of, section_of};
use super::{bounding, value};
use crate::check::finding::Finding;
use crate::check::tables::{self, Directives};
use crate::check::text::TextSpan;

/// The accepted lines of one unit file: the lines that systemd 219 accepts, and the headers of the
/// file's sections.
#[derive(Debug, Default)]
pub(in crate::check) struct AcceptedLines<'a> {
    /// The headers of the file's sections.
    pub(super) sections: Vec<TextSpan<'a>>,
    pub(super) lines: Vec<Line<'a>>,
    pub(super) findings: Vec<Finding>,
    /// The position where systemd stops reading, or `None` if it reads the whole file.
    pub(super) stopped: Option<usize>,
}

/// Reads a file whose continued lines have already been joined.
pub(super) fn read<'a>(path: &str, joined: &'a str) -> AcceptedLines<'a> {
    let id = name_of(path).unwrap_or_default();
    let own = section_of(id).unwrap_or("Service");
    let drop_in = is_drop_in(path);
    let known = |section: &str| ["Unit", "Install", own].contains(&section);
    let reader = if drop_in {
        Reader::DropIn
    } else {
        Reader::Unit
    };
    let parsed = parse::parse(joined, reader, known);
    let mut out = AcceptedLines {
        findings: parsed.findings,
        stopped: parsed.stopped,
        ..AcceptedLines::default()
    };
    out.findings
        .extend(check_sections(&parsed.sections, id, own, drop_in));
    let mut context = Context::of_unit(id, drop_in);
    for assignment in parsed.assignments {
        let section = assignment.section.text;
        let value_type = tables::UNITS
            .get(section)
            .and_then(|directives| directives.get(assignment.key.text));
        let before = out.findings.len();
        let accepted_count = if let Some(value_type) = value_type {
            value::check(value_type, &assignment, &context, &mut out.findings)
        } else {
            out.findings.extend(unknown(&assignment, own));
            0
        };
        let at = assignment.key.span().start;
        if value_type == Some(&"cpus")
            && accepted_count == 0
            && out.stopped.is_none_or(|stopped| stopped > at)
        {
            out.stopped = Some(at);
        }
        if value_type == Some(&"trigger")
            && accepted_count > 0
            && std::mem::replace(&mut context.triggers, true)
        {
            let finding = assignment.ignored("unit/unit-name", "only one Unit=");
            out.findings
                .push(finding.effect("systemd uses the first Unit= and ignores this line"));
            continue;
        }
        let resets = assignment.value.text.is_empty() && out.findings.len() == before;
        let is_read =
            out.stopped.is_none_or(|stopped| at < stopped) && !(drop_in && section == "Install");
        if is_read && (accepted_count > 0 || resets) {
            context.note(&assignment);
            out.lines.push(Line {
                assignment,
                accepted_count,
            });
        }
    }
    out.findings.extend(bounding::check(&out.lines));
    out.sections = parsed.sections;
    out
}

/// Checks the sections of a unit file. `own` is the section that is specific to the unit's type,
/// such as `Service`.
fn check_sections(sections: &[TextSpan<'_>], id: &str, own: &str, drop_in: bool) -> Vec<Finding> {
    let known = |section: &str| ["Unit", "Install", own].contains(&section);
    let mut findings = Vec::new();
    let unknown_sections = sections
        .iter()
        .filter(|section| !known(section.text) && !section.text.starts_with("X-"));
    findings.extend(unknown_sections.map(|section| unknown_section(*section, own)));
    if let (Some(install), true) = (
        sections.iter().find(|section| section.text == "Install"),
        drop_in,
    ) {
        findings.push(
            Finding::warning("unit/no-effect", *install, "a drop-in contains [Install]")
                .effect("systemctl enable does not read this section")
                .fix(format!("write the section into {id} itself, or add a link such as /etc/systemd/system/multi-user.target.wants/{id}")),
        );
    }
    findings
}

fn unknown_section(section: TextSpan<'_>, own: &str) -> Finding {
    let finding = Finding::error(
        "unit/section",
        section,
        format!(
            "units of this type do not have a section [{}]",
            section.text
        ),
    );
    let finding = finding.effect("systemd ignores the section and everything in it");
    let known = ["Unit", "Install", own];
    match nearest(section.text, known) {
        Some(near) => finding.fix(format!("did you mean [{near}]?")),
        None => finding.fix(format!("write one of: {}", known.join(", "))),
    }
}

/// Returns the finding for a directive that systemd 219 does not have in this section.
fn unknown(assignment: &Assignment<'_>, own: &str) -> Option<Finding> {
    let (key, section) = (assignment.key.text, assignment.section.text);
    if key.starts_with("X-") {
        return None;
    }
    let has = |name: &str| {
        tables::UNITS
            .get(name)
            .is_some_and(|directives: &Directives| directives.contains_key(key))
    };
    // systemd 219 has the directive in another section. Either later releases moved the directive,
    // or the author put it into the wrong section.
    if let Some(home) = ["Unit", "Install", own].into_iter().find(|name| has(name)) {
        return Some(
            Finding::error(
                "unit/wrong-section",
                assignment.key,
                format!("{key}= does not belong in [{section}]"),
            )
            .effect("systemd ignores the line")
            .fix(format!("in systemd 219, the directive belongs in [{home}]")),
        );
    }
    let finding =
        |message: String| Finding::error("unit/unknown-directive", assignment.key, message);
    if let Some(later) = tables::LATER.get(key) {
        let message = later.since.map_or_else(
            || format!("{key}= is newer than systemd 219"),
            |since| format!("systemd {since} added {key}="),
        );
        return Some(
            finding(message)
                .effect("systemd ignores the line")
                .fix(later.instead),
        );
    }
    let finding = finding(format!("systemd 219 has no {key}= in [{section}]"))
        .effect("systemd ignores the line");
    let names = tables::UNITS
        .get(section)
        .into_iter()
        .flat_map(|directives| directives.keys().copied());
    Some(match nearest(key, names) {
        Some(near) => finding.fix(format!("did you mean {near}=?")),
        None => {
            finding.fix("remove the directive, or write X- before it if another program reads it")
        }
    })
}
