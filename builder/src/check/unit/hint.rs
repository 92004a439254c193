//! What to write instead of values that later systemds have.

use super::assignment::Assignment;
use crate::check::finding::Finding;

/// The hint for a word that 219 does not know.
pub(super) fn word(key: &str, text: &str) -> Option<&'static str> {
    let to_file = || {
        ["append:", "file:", "truncate:"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
    };
    Some(match (key, text) {
        ("ProtectSystem", "strict") => {
            "strict came with systemd 232: write ProtectSystem=full, ReadOnlyDirectories=/ and ReadWriteDirectories= for what it writes"
        }
        ("ProtectHome", "tmpfs") => "tmpfs came later: write ProtectHome=yes",
        ("Type", "exec") => "Type=exec came with systemd 240: write Type=simple",
        ("Type", "notify-reload") => "a later release added it: write Type=notify, and ExecReload=",
        ("StandardOutput" | "StandardError", _) if to_file() => {
            "files came with systemd 236 and 240: write journal, or let a shell redirect it"
        }
        _ => return None,
    })
}

/// The hint for a calendar event that 219 does not accept.
pub(super) fn calendar(text: &str) -> String {
    let zone = |word: &str| {
        word == "UTC" || (word.contains('/') && word.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    let after = |at: usize| text[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    if text.contains("..") {
        "Mon-Fri for days, a list as 1,2,3 for anything else: ranges with .. came with systemd 231"
    } else if text.contains('~') {
        "a day that each month has, as in *-*-28: days from the end of a month came with systemd 233"
    } else if text.split(' ').next_back().is_some_and(zone) {
        "the node's own time, without a zone: time zones in calendars came with systemd 228 and 235"
    } else if text.rfind('.').is_some_and(after) {
        "whole seconds: fractions came with systemd 235"
    } else {
        "a calendar event, as in daily, Mon *-*-* 10:00 or *:0/15; hours are 0 to 23"
    }
    .to_owned()
}

/// The finding for a directive that 219 reads and ignores.
pub(super) fn without_effect(form: &str, assignment: &Assignment<'_>) -> Finding {
    let key = assignment.key.text;
    let compiled_out = |without: &str, instead: &str| {
        let message =
            format!("{key}= does nothing on CentOS 7.9: its systemd is built without {without}");
        Finding::warning("unit/compiled-out", assignment.key, message)
            .effect("219 ignores the line, and logs that at debug level only")
            .fix(instead)
    };
    match (form, key) {
        ("compiled-out", "AppArmorProfile") => {
            compiled_out("AppArmor", "write SELinuxContext=, or remove the line")
        }
        ("compiled-out", "RestrictAddressFamilies") => compiled_out(
            "seccomp",
            "do not count on it: PrivateNetwork=yes removes the whole network, and firewalld limits what others reach",
        ),
        ("compiled-out", _) => compiled_out(
            "seccomp",
            "do not count on it: 219 enforces CapabilityBoundingSet=, NoNewPrivileges=, User= and ReadOnlyDirectories=",
        ),
        ("removed", _) => Finding::error(
            "unit/value-form",
            assignment.key,
            format!("systemd 219 ignores {key}="),
        )
        .effect("219 logs that the directive was removed, and ignores the line")
        .fix("remove it"),
        _ => Finding::error(
            "unit/value-form",
            assignment.key,
            format!("systemd 219 of CentOS 7.9 is built without {key}="),
        )
        .effect("219 logs that and ignores the line")
        .fix("remove it"),
    }
}
