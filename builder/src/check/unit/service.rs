//! Checks a service as a whole, as `service_verify` of systemd 219 does (src/core/service.c), and
//! finds settings that do not work as intended on a node.

use super::loaded::Line;
use super::loaded::{LocatedSpan, Unit};
use super::refusal::{Refusal, refused};
use crate::check::finding::Finding;
use crate::check::text::TextSpan;

const TYPES: [&str; 6] = ["simple", "forking", "oneshot", "dbus", "notify", "idle"];

/// Returns one item for each command of a directive: the value that contains the command.
fn commands<'a>(unit: &Unit<'a>, key: &str) -> Vec<LocatedSpan<'a>> {
    let of_line = |(file, line): (usize, Line<'a>)| {
        std::iter::repeat_n((file, line.assignment.value), line.accepted_count)
    };
    unit.all("Service", key)
        .into_iter()
        .flat_map(of_line)
        .collect()
}

/// Returns the type of a service, and the line that sets the type.
fn kind<'a>(unit: &Unit<'a>) -> (&'a str, Option<LocatedSpan<'a>>) {
    let at = unit
        .last("Service", "Type")
        .filter(|(_, kind)| TYPES.contains(&kind.text));
    let guessed = if unit.last("Service", "BusName").is_some() {
        "dbus"
    } else if commands(unit, "ExecStart").is_empty() {
        "oneshot"
    } else {
        "simple"
    };
    (at.map_or(guessed, |(_, kind)| kind.text), at)
}

pub(super) fn verify<'a>(unit: &Unit<'a>) -> Option<Refusal<'a>> {
    let (starts, stops) = (commands(unit, "ExecStart"), commands(unit, "ExecStop"));
    let (kind, kind_at) = kind(unit);
    if starts.is_empty() {
        if stops.is_empty() {
            return Some(refused(
                None,
                "the service has neither ExecStart= nor ExecStop=".into(),
                "write ExecStart=",
            ));
        }
        if kind != "oneshot" || unit.switch("Service", "RemainAfterExit") != Some(true) {
            let message =
                "without ExecStart=, a service must be Type=oneshot with RemainAfterExit=yes";
            return Some(refused(None, message.into(), "write ExecStart="));
        }
    }
    if let (Some(second), true) = (starts.get(1), kind != "oneshot") {
        let message = format!("a service of Type={kind} has a second start command");
        let fix = "only Type=oneshot can have several commands; move the first command into ExecStartPre=. To pass a literal ; to the program, write \\;";
        return Some(Refusal {
            rule: "unit/second-command",
            ..refused(Some(*second), message, fix)
        });
    }
    if kind == "oneshot" {
        if let Some(at) = unit
            .last("Service", "Restart")
            .filter(|(_, restart)| restart.text != "no")
        {
            let message = format!("Type=oneshot cannot have Restart={}", at.1.text);
            let instead = "write Type=notify or Type=simple with RemainAfterExit=yes, or start the service with a timer";
            return Some(refused(Some(at), message, instead));
        }
        if let Some(at) = unit.last("Service", "RestartForceExitStatus") {
            return Some(refused(
                Some(at),
                "Type=oneshot cannot have RestartForceExitStatus=".into(),
                "remove it",
            ));
        }
    }
    if kind == "dbus" && unit.last("Service", "BusName").is_none() {
        return Some(refused(
            kind_at,
            "Type=dbus requires BusName=".into(),
            "write BusName=",
        ));
    }
    let pam = unit.last("Service", "PAMName")?;
    let kill = unit
        .last("Service", "KillMode")
        .filter(|(_, mode)| !["control-group", "mixed"].contains(&mode.text))?;
    Some(refused(
        Some(kill),
        format!(
            "PAMName={} cannot be combined with KillMode={}",
            pam.1.text, kill.1.text
        ),
        "write KillMode=control-group or mixed",
    ))
}

/// Finds settings that systemd 219 accepts but that do not work as intended on a node.
pub(super) fn advise(unit: &Unit<'_>) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    let starts = commands(unit, "ExecStart");
    let (name, kind_at) = kind(unit);
    if let (Some((file, at)), "forking", None) = (kind_at, name, unit.last("Service", "PIDFile")) {
        let finding = Finding::warning(
            "unit/forking",
            at,
            "the service has Type=forking, but no PIDFile=",
        );
        out.push((
            file,
            finding
                .effect("systemd guesses which process is the main process")
                .fix("write PIDFile=, or let the program stay in the foreground with Type=simple"),
        ));
    }
    if let (Some((file, at)), true) = (unit.last("Service", "BusName"), name != "dbus") {
        let finding = Finding::warning(
            "unit/no-effect",
            at,
            format!("BusName= is set in a service of Type={name}"),
        );
        out.push((
            file,
            finding
                .effect("systemd ignores BusName=")
                .fix("write Type=dbus, or remove BusName="),
        ));
    }
    let hides = unit
        .last("Service", "ProtectHome")
        .filter(|_| unit.switch("Service", "ProtectHome") == Some(true));
    if let (Some((file, at)), true) = (
        hides,
        uses_folder(&starts, &["/home/", "/root/", "/run/user/"]),
    ) {
        let finding = Finding::warning(
            "unit/hidden-program",
            at,
            "the program of ExecStart= is in a folder that ProtectHome= hides",
        );
        out.push((
            file,
            finding
                .effect("systemd does not find the program (203/EXEC)")
                .fix("move the program to /usr/local/bin"),
        ));
    }
    let labelled = starts
        .iter()
        .filter(|start| uses_folder(&[**start], &["/tmp/", "/root/", "/home/"]));
    out.extend(labelled.map(|(file, start)| (*file, mislabelled(*start))));
    out
}

fn mislabelled(start: TextSpan<'_>) -> Finding {
    Finding::warning(
        "unit/labelled-program",
        start,
        "the program is in a folder from which SELinux does not let services run programs",
    )
    .effect(
        "SELinux in enforcing mode refuses a program with the label tmp_t, admin_home_t or user_home_t (203/EXEC)",
    )
    .fix("move the program to /usr/local/bin, where restorecon labels files bin_t")
}

fn uses_folder(commands: &[LocatedSpan<'_>], folders: &[&str]) -> bool {
    commands.iter().any(|(_, command)| {
        let path = command.text.trim_start_matches(['-', '@', '"', '\'']);
        folders.iter().any(|folder| path.starts_with(folder))
    })
}
