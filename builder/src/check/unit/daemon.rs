//! journald.conf, system.conf and their drop-ins: what systemd's daemons read for themselves, in the manner of unit files.

use recipes::diagnostic::nearest;

use super::super::finding::Finding;
use super::super::known;
use super::{read, value};

/// The section of the daemon whose configuration a path is.
pub(in super::super) fn section_of(path: &str) -> Option<&'static str> {
    const FILES: [(&str, &str); 2] = [("journald.conf", "Journal"), ("system.conf", "Manager")];
    let mut names = path.rsplit('/');
    let (name, folder) = (names.next()?, names.next().unwrap_or_default());
    let is_drop_in = |file: &str| {
        folder.strip_suffix(".d") == Some(file) && name.rsplit_once('.').is_some_and(|(_, suffix)| suffix == "conf")
    };
    FILES.iter().find(|(file, _)| name == *file || is_drop_in(file)).map(|(_, section)| *section)
}

/// What is wrong with one of them.
pub(in super::super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let (Some(section), (joined, mut out)) = (section_of(path), read::join(text)) else { return Vec::new() };
    let reading = read::read(&joined);
    out.extend(reading.findings.into_iter().map(|finding| match finding.rule {
        "unit/no-assignment" | "unit/section-header" => {
            finding.does("219 stops reading here, and reads none of the later files (conf-parser.c)")
        }
        _ => finding,
    }));
    for other in reading.sections.iter().filter(|other| other.text != section && !other.text.starts_with("X-")) {
        out.push(
            Finding::error("unit/section", *other, format!("this file has no section [{}]", other.text))
                .does("219 ignores it with all that is in it")
                .instead(format!("write [{section}]")),
        );
    }
    let directives = &known::DAEMONS[section];
    for assignment in reading.assignments.iter().filter(|assignment| assignment.section.text == section) {
        let key = assignment.key.text;
        if let Some(form) = directives.get(key) {
            value::check(form, key, assignment.value, &mut out);
            continue;
        }
        let finding = |message: String| {
            Finding::error("unit/unknown-directive", assignment.key, message).does("here it is ignored")
        };
        out.push(match (known::DAEMONS_LATER.get(key), nearest(key, directives.keys().copied())) {
            (Some(instead), _) => finding(format!("{key}= came after 219")).instead(*instead),
            (None, Some(near)) => finding(format!("219 has no {key}= here")).instead(format!("did you mean {near}=?")),
            (None, None) => finding(format!("219 has no {key}= here")).instead("take it away"),
        });
    }
    out
}
