//! Unit files, as systemd 219 with RHEL's back-ports takes them.

mod assignment;
mod bounding;
mod capability;
mod context;
mod cpus;
pub(super) mod daemon;
mod environment;
mod exec;
mod expanded;
mod hint;
mod list;
mod loaded;
mod order;
mod plain;
mod read;
mod service;
#[cfg(test)]
mod tests;
mod together;
mod value;
mod verify;
mod whole;

use recipes::diagnostic::nearest;

use self::assignment::Assignment;
use self::context::Context;
use self::read::Reader;
use super::File;
use super::finding::Finding;
use super::known::{self, Directives};
use super::systemd::name;
use super::text::Part;
pub(super) use together::together;

/// The types of units that have files, each with its own section.
const KINDS: [(&str, &str); 12] = [
    ("service", "Service"),
    ("socket", "Socket"),
    ("timer", "Timer"),
    ("path", "Path"),
    ("mount", "Mount"),
    ("automount", "Automount"),
    ("swap", "Swap"),
    ("slice", "Slice"),
    ("target", "Target"),
    ("device", "Device"),
    ("scope", "Scope"),
    ("busname", "BusName"),
];

/// The name of the unit that a file is, or is a drop-in of.
pub(super) fn name_of(path: &str) -> Option<&str> {
    let mut names = path.rsplit('/');
    let name = names.next()?;
    let is_unit = |name: &str| section_of(name).is_some();
    if is_unit(name) {
        return Some(name);
    }
    let unit = names.next()?.strip_suffix(".d")?;
    (is_unit(unit) && name.rsplit_once('.').is_some_and(|(_, own)| own == "conf")).then_some(unit)
}

/// The section of its own that a unit has.
fn section_of(name: &str) -> Option<&'static str> {
    let (_, kind) = name.rsplit_once('.')?;
    KINDS.iter().find(|(own, _)| *own == kind).map(|(_, section)| *section)
}

/// Whether a file only adds to a unit.
fn is_drop_in(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| Some(name) != name_of(path))
}

/// A line of a unit file, and how much of it 219 takes.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    assignment: Assignment<'a>,
    /// Commands or words; 1 for anything else that 219 takes. 0: it ignores the line, or the value is empty.
    taken: usize,
}

/// What 219 makes of one unit file.
#[derive(Debug, Default)]
struct Examined<'a> {
    /// The headers of its sections.
    sections: Vec<Part<'a>>,
    lines: Vec<Line<'a>>,
    findings: Vec<Finding>,
    /// Where 219 stopped reading, if it did.
    stopped: Option<usize>,
}

/// What is wrong with one unit file.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let joined = read::join(text);
    let mut out = joined.findings;
    out.extend(examine(path, &joined.text).findings);
    out.extend(whole::file(path, text));
    out
}

/// Reads a file whose continued lines are joined.
fn examine<'a>(path: &str, joined: &'a str) -> Examined<'a> {
    let id = name_of(path).unwrap_or_default();
    let own = section_of(id).unwrap_or("Service");
    let drop_in = is_drop_in(path);
    let known = |section: &str| ["Unit", "Install", own].contains(&section);
    let reading = read::read(joined, if drop_in { Reader::DropIn } else { Reader::Unit }, known);
    let mut out = Examined { findings: reading.findings, stopped: reading.stopped, ..Examined::default() };
    let unknown_sections =
        reading.sections.iter().filter(|section| !known(section.text) && !section.text.starts_with("X-"));
    out.findings.extend(unknown_sections.map(|section| unknown_section(*section, own)));
    if let (Some(install), true) = (reading.sections.iter().find(|section| section.text == "Install"), drop_in) {
        out.findings.push(
            Finding::warning("unit/no-effect", *install, "[Install] in a drop-in")
                .does("systemctl enable does not read it")
                .instead(format!("write it into {id} itself, or bring the link, as in /etc/systemd/system/multi-user.target.wants/{id}")),
        );
    }
    let mut context = Context::of_unit(id, drop_in);
    for assignment in reading.assignments {
        let section = assignment.section.text;
        let form = known::UNITS.get(section).and_then(|directives| directives.get(assignment.key.text));
        let before = out.findings.len();
        let taken = if let Some(form) = form {
            value::check(form, &assignment, &context, &mut out.findings)
        } else {
            out.findings.extend(unknown(&assignment, own));
            0
        };
        let at = assignment.key.span().start;
        if form == Some(&"cpus") && taken == 0 && out.stopped.is_none_or(|stopped| stopped > at) {
            out.stopped = Some(at);
        }
        if form == Some(&"trigger") && taken > 0 && std::mem::replace(&mut context.triggers, true) {
            let finding = assignment.refuse("unit/unit-name", "one Unit= only");
            out.findings.push(finding.does("219 takes the first Unit=, and ignores this line"));
            continue;
        }
        let resets = assignment.value.text.is_empty() && out.findings.len() == before;
        let is_read = out.stopped.is_none_or(|stopped| at < stopped) && !(drop_in && section == "Install");
        if is_read && (taken > 0 || resets) {
            context.note(&assignment);
            out.lines.push(Line { assignment, taken });
        }
    }
    out.findings.extend(bounding::check(&out.lines));
    out.sections = reading.sections;
    out
}

fn unknown_section(section: Part<'_>, own: &str) -> Finding {
    let finding = Finding::error("unit/section", section, format!("this unit has no section [{}]", section.text));
    let finding = finding.does("219 ignores it with all that is in it");
    let known = ["Unit", "Install", own];
    match nearest(section.text, known) {
        Some(near) => finding.instead(format!("did you mean [{near}]?")),
        None => finding.instead(format!("it has: {}", known.join(", "))),
    }
}

/// What to say of a directive that 219 does not have in its section.
fn unknown(assignment: &Assignment<'_>, own: &str) -> Option<Finding> {
    let (key, section) = (assignment.key.text, assignment.section.text);
    if key.starts_with("X-") {
        return None;
    }
    let has = |name: &str| known::UNITS.get(name).is_some_and(|directives: &Directives| directives.contains_key(key));
    // 219 has it elsewhere: later releases moved it, or it was put into the wrong section.
    if let Some(home) = ["Unit", "Install", own].into_iter().find(|name| has(name)) {
        return Some(
            Finding::error("unit/wrong-section", assignment.key, format!("{key}= does not belong into [{section}]"))
                .does("219 ignores the line")
                .instead(format!("in 219 it belongs into [{home}]")),
        );
    }
    let finding = |message: String| Finding::error("unit/unknown-directive", assignment.key, message);
    if let Some(later) = known::LATER.get(key) {
        let since = later.since.map_or("after 219".to_owned(), |since| format!("with systemd {since}"));
        return Some(finding(format!("{key}= came {since}")).does("219 ignores the line").instead(later.instead));
    }
    let finding = finding(format!("219 has no {key}= in [{section}]")).does("219 ignores the line");
    let names = known::UNITS.get(section).into_iter().flat_map(|directives| directives.keys().copied());
    Some(match nearest(key, names) {
        Some(near) => finding.instead(format!("did you mean {near}=?")),
        None => finding.instead("remove it, or write X- before it if another program reads it"),
    })
}

/// Whether 219 loads units of a name at all.
fn is_loadable(id: &str) -> bool {
    let id = if name::is_template(id) { name::with_instance(id, "x") } else { id.to_owned() };
    name::is_loadable(&id)
}

/// The name of a unit that is where systemd looks for units and says how it is enabled.
pub(super) fn installable<'a>(file: &'a File<'_>) -> Option<&'a str> {
    let name = file
        .path
        .strip_prefix("/etc/systemd/system/")
        .or_else(|| file.path.strip_prefix("/usr/lib/systemd/system/"))?;
    let is_unit = !name.contains('/') && name_of(&file.path) == Some(name);
    // A template is enabled as one of its instances.
    (is_unit && !name.contains('@') && file.text.lines().any(|line| line.trim() == "[Install]")).then_some(name)
}
