//! Unit files, as systemd 219 with RHEL's back-ports takes them.

mod amount;
mod bounding;
pub(super) mod daemon;
mod exec;
mod order;
mod read;
mod service;
mod together;
mod value;

use recipes::diagnostic::nearest;

use self::read::Assignment;
use super::File;
use super::finding::Finding;
use super::known::{self, Directives};
pub(super) use amount::is_span;
pub(super) use together::together;

/// The kinds of units, each with its own section.
const KINDS: [(&str, Option<&str>); 10] = [
    ("service", Some("Service")),
    ("socket", Some("Socket")),
    ("timer", Some("Timer")),
    ("path", Some("Path")),
    ("mount", Some("Mount")),
    ("automount", Some("Automount")),
    ("swap", Some("Swap")),
    ("slice", Some("Slice")),
    ("target", None),
    ("device", None),
];

/// The name of the unit that a file is, or is a drop-in of.
pub(super) fn name_of(path: &str) -> Option<&str> {
    let mut names = path.rsplit('/');
    let name = names.next()?;
    let kind_of = |name: &str| KINDS.iter().any(|(kind, _)| name.rsplit_once('.').is_some_and(|(_, own)| own == *kind));
    if kind_of(name) {
        return Some(name);
    }
    let unit = names.next()?.strip_suffix(".d")?;
    (kind_of(unit) && name.rsplit_once('.').is_some_and(|(_, own)| own == "conf")).then_some(unit)
}

/// Whether a file only adds to a unit.
fn is_drop_in(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| Some(name) != name_of(path))
}

/// What is wrong with one unit file.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let (joined, mut out) = read::join(text);
    let reading = read::read(&joined);
    out.extend(reading.findings);
    let kind = name_of(path).and_then(|name| name.rsplit_once('.')).map_or("service", |(_, kind)| kind);
    let own = KINDS.iter().find(|(name, _)| *name == kind).and_then(|(_, section)| *section);
    let allowed = |section: &str| section == "Unit" || section == "Install" || Some(section) == own;
    for section in &reading.sections {
        if allowed(section.text) || section.text.starts_with("X-") {
            continue;
        }
        let known: Vec<&str> = ["Unit", "Install"].into_iter().chain(own).collect();
        let finding =
            Finding::error("unit/section", *section, format!("a .{kind} unit has no section [{}]", section.text));
        let finding = finding.does("219 ignores it with all that is in it");
        out.push(match nearest(section.text, known.iter().copied()) {
            Some(near) => finding.instead(format!("did you mean [{near}]?")),
            None => finding.instead(format!("it has: {}", known.join(", "))),
        });
    }
    for assignment in reading.assignments.iter().filter(|assignment| allowed(assignment.section.text)) {
        let Some(directives) = known::UNITS.get(assignment.section.text) else { continue };
        match directives.get(assignment.key.text) {
            Some(form) => value::check(form, assignment.key.text, assignment.value, &mut out),
            None => out.extend(unknown(assignment, directives, own)),
        }
    }
    out.extend(bounding::check(&reading.assignments));
    if kind == "service" {
        out.extend(service::check(&reading.assignments, is_drop_in(path)));
    }
    out
}

/// What to say of a directive that 219 does not have in its section.
fn unknown(assignment: &Assignment<'_>, directives: &Directives, own: Option<&str>) -> Option<Finding> {
    let (key, section) = (assignment.key.text, assignment.section.text);
    if key.starts_with("X-") {
        return None;
    }
    // 219 has it elsewhere: later releases moved it, or it was put into the wrong section.
    let elsewhere = ["Unit", "Install"].into_iter().chain(own).find(|name| known::UNITS[name].contains_key(key));
    if let Some(home) = elsewhere {
        return Some(
            Finding::error("unit/wrong-section", assignment.key, format!("{key}= does not belong into [{section}]"))
                .does("ignored")
                .instead(format!("in 219 it belongs into [{home}]")),
        );
    }
    let finding = |message: String| Finding::error("unit/unknown-directive", assignment.key, message);
    if let Some(later) = known::LATER.get(key) {
        let since = later.since.map_or("after 219".to_owned(), |since| format!("with systemd {since}"));
        return Some(finding(format!("{key}= came {since}")).does("here it is ignored").instead(later.instead));
    }
    let finding = finding(format!("219 has no {key}= in [{section}]")).does("ignored");
    Some(match nearest(key, directives.keys().copied()) {
        Some(near) => finding.instead(format!("did you mean {near}=?")),
        None => finding.instead("take it away, or write X- before it if another program reads it"),
    })
}

/// The name of a unit that lies where systemd looks for units and says how it is enabled.
pub(super) fn installable<'a>(file: &'a File<'_>) -> Option<&'a str> {
    let name = file
        .path
        .strip_prefix("/etc/systemd/system/")
        .or_else(|| file.path.strip_prefix("/usr/lib/systemd/system/"))?;
    let is_unit = !name.contains('/') && name_of(&file.path) == Some(name);
    // A template is enabled as one of its instances.
    (is_unit && !name.contains('@') && file.text.lines().any(|line| line.trim() == "[Install]")).then_some(name)
}
