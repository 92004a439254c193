//! Checks journald.conf, system.conf and their drop-ins, which systemd's daemons read in the format
//! of unit files.

use recipes::diagnostic::nearest;

use super::context::Context;
use super::parse::{self, Reader};
use super::value;
use crate::check::finding::Finding;
use crate::check::tables;

/// Returns the section that a daemon reads from the configuration file with this path.
pub(in crate::check) fn section_of(path: &str) -> Option<&'static str> {
    const FILES: [(&str, &str); 2] = [("journald.conf", "Journal"), ("system.conf", "Manager")];
    let mut names = path.rsplit('/');
    let (name, folder) = (names.next()?, names.next().unwrap_or_default());
    let is_drop_in = |file: &str| {
        folder.strip_suffix(".d") == Some(file)
            && name
                .rsplit_once('.')
                .is_some_and(|(_, suffix)| suffix == "conf")
    };
    FILES
        .iter()
        .find(|(file, _)| name == *file || is_drop_in(file))
        .map(|(_, section)| *section)
}

/// Checks a configuration file of one of systemd's daemons.
pub(in crate::check) fn check(path: &str, text: &str) -> Vec<Finding> {
    let Some(section) = section_of(path) else {
        return Vec::new();
    };
    let joined = parse::join(text);
    let mut out = joined.findings;
    let parsed = parse::parse(&joined.text, Reader::Daemon, |name| name == section);
    out.extend(parsed.findings);
    for other in parsed
        .sections
        .iter()
        .filter(|other| other.text != section && !other.text.starts_with("X-"))
    {
        out.push(
            Finding::error(
                "unit/section",
                *other,
                format!(
                    "systemd does not support the section [{}] in this file",
                    other.text
                ),
            )
            .effect("systemd ignores the section and everything in it")
            .fix(format!("write [{section}]")),
        );
    }
    let directives = &tables::DAEMONS[section];
    let context = Context::of_daemon();
    for assignment in parsed.assignments {
        let key = assignment.key.text;
        if let Some(value_type) = directives.get(key) {
            value::check(value_type, &assignment, &context, &mut out);
            continue;
        }
        if key.starts_with("X-") {
            continue;
        }
        let finding = |message: String| {
            Finding::error("unit/unknown-directive", assignment.key, message)
                .effect("systemd ignores the line")
        };
        out.push(
            match (
                tables::DAEMONS_LATER.get(key),
                nearest(key, directives.keys().copied()),
            ) {
                (Some(instead), _) => {
                    finding(format!("{key}= is newer than systemd 219")).fix(*instead)
                }
                (None, Some(near)) => finding(format!("systemd 219 does not support {key}="))
                    .fix(format!("did you mean {near}=?")),
                (None, None) => {
                    finding(format!("systemd 219 does not support {key}=")).fix("remove it")
                }
            },
        );
    }
    out
}
