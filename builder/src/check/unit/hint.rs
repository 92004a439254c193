//! Hints for replacing values of later systemd releases, and the findings about directives that
//! have no effect.

use super::assignment::Assignment;
use crate::check::finding::Finding;

/// Returns the hint for a word that systemd 219 does not support.
pub(super) fn word(key: &str, text: &str) -> Option<&'static str> {
    let to_file = || {
        ["append:", "file:", "truncate:"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
    };
    Some(match (key, text) {
        ("ProtectSystem", "strict") => {
            "systemd 232 added strict; write ProtectSystem=full, ReadOnlyDirectories=/, and ReadWriteDirectories= for the folders that the service writes"
        }
        ("ProtectHome", "tmpfs") => "a later release added tmpfs; write ProtectHome=yes",
        ("Type", "exec") => "systemd 240 added Type=exec; write Type=simple",
        ("Type", "notify-reload") => {
            "a later release added this type; write Type=notify and ExecReload="
        }
        ("StandardOutput" | "StandardError", _) if to_file() => {
            "systemd 236 and 240 added output to files; write `journal`, or let a shell redirect the \
             output"
        }
        _ => return None,
    })
}

/// Returns the hint for a calendar event that systemd 219 does not accept.
pub(super) fn calendar(text: &str) -> String {
    let zone = |word: &str| {
        word == "UTC" || (word.contains('/') && word.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    let after = |at: usize| text[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    if text.contains("..") {
        "Mon-Fri for days, or a list such as 1,2,3 for other parts; systemd 231 added ranges with .."
    } else if text.contains('~') {
        "a day that each month has, as in *-*-28; systemd 233 added days from the end of a month"
    } else if text.split(' ').next_back().is_some_and(zone) {
        "a time in the node's own zone, without the name of a zone; systemd 228 and 235 added time zones in calendars"
    } else if text.rfind('.').is_some_and(after) {
        "whole seconds; systemd 235 added fractions"
    } else {
        "a calendar event such as daily, Mon *-*-* 10:00 or *:0/15; hours are 0 to 23"
    }
    .to_owned()
}

/// Returns the finding for a directive that systemd 219 reads and ignores.
pub(super) fn without_effect(value_type: &str, assignment: &Assignment<'_>) -> Finding {
    let key = assignment.key.text;
    let compiled_out = |without: &str, instead: &str| {
        let message = format!(
            "{key}= has no effect on CentOS 7.9, because its systemd is built without {without}"
        );
        Finding::warning("unit/compiled-out", assignment.key, message)
            .effect("systemd ignores the line, and logs this only at debug level")
            .fix(instead)
    };
    match (value_type, key) {
        ("compiled-out", "AppArmorProfile") => {
            compiled_out("AppArmor", "write SELinuxContext=, or remove the line")
        }
        ("compiled-out", "RestrictAddressFamilies") => compiled_out(
            "seccomp",
            "do not rely on this directive; PrivateNetwork=yes removes the whole network, and \
             firewalld restricts other hosts",
        ),
        ("compiled-out", _) => compiled_out(
            "seccomp",
            "do not rely on this directive; systemd 219 enforces CapabilityBoundingSet=, \
             NoNewPrivileges=, User= and ReadOnlyDirectories=",
        ),
        ("removed", _) => Finding::error(
            "unit/value-form",
            assignment.key,
            format!("systemd 219 ignores {key}="),
        )
        .effect("systemd logs that the directive was removed, and ignores the line")
        .fix("remove it"),
        _ => Finding::error(
            "unit/value-form",
            assignment.key,
            format!("CentOS 7.9's systemd 219 is built without {key}="),
        )
        .effect("systemd logs a message and ignores the line")
        .fix("remove it"),
    }
}
