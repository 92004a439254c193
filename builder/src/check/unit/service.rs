//! What a service must be as a whole: `service_verify` of systemd 219 (src/core/service.c).

use super::super::finding::Finding;
use super::super::text::Part;
use super::read::Assignment;
use super::value::is_bool;

/// The settings of [Service], the last of each where one overrides the other.
struct Service<'a, 'b>(&'b [Assignment<'a>]);

impl<'a> Service<'a, '_> {
    fn all(&self, key: &str) -> Vec<Part<'a>> {
        let mut values = Vec::new();
        for assignment in self.0.iter().filter(|a| a.section.text == "Service" && a.key.text == key) {
            if assignment.value.text.is_empty() {
                values.clear();
            } else {
                values.push(assignment.value);
            }
        }
        values
    }

    fn last(&self, key: &str) -> Option<Part<'a>> {
        self.all(key).pop()
    }
}

const TYPES: [&str; 6] = ["simple", "forking", "oneshot", "dbus", "notify", "idle"];

/// A drop-in is part of a service: what it lacks the unit itself may have.
pub(super) fn check(assignments: &[Assignment<'_>], drop_in: bool) -> Vec<Finding> {
    let service = Service(assignments);
    let (starts, stops) = (service.all("ExecStart"), service.all("ExecStop"));
    let (bus, kind) = (service.last("BusName"), service.last("Type"));
    // What 219 takes for the type where none is given, or none that it knows.
    let guessed = if bus.is_some() {
        "dbus"
    } else if starts.is_empty() {
        "oneshot"
    } else {
        "simple"
    };
    let name = kind.map(|kind| kind.text).filter(|kind| TYPES.contains(kind)).unwrap_or(guessed);
    let section = assignments.iter().find(|a| a.section.text == "Service").map_or(0..0, |a| a.section.span());
    let mut out = Vec::new();
    let mut refuse = |place: std::ops::Range<usize>, message: String, instead: &str| {
        out.push(Finding::error("unit/refused", place, message).does("219 refuses to load the unit").instead(instead));
    };
    let remains = service.last("RemainAfterExit").and_then(|value| is_bool(value.text)).unwrap_or(false);
    if !drop_in && starts.is_empty() {
        if stops.is_empty() {
            refuse(section, "the service has neither ExecStart= nor ExecStop=".into(), "write ExecStart=");
        } else if name != "oneshot" || !remains {
            refuse(
                section,
                "without ExecStart= a service must be Type=oneshot with RemainAfterExit=yes".into(),
                "write ExecStart=",
            );
        }
    }
    if let (Some(second), true) = (starts.get(1), name != "oneshot" && !drop_in) {
        refuse(
            second.span(),
            format!("a second ExecStart= in a service of Type={name}"),
            "only Type=oneshot may have several; put the first into ExecStartPre=",
        );
    }
    if let (Some(restart), "oneshot") = (service.last("Restart").filter(|value| value.text != "no"), name) {
        refuse(
            restart.span(),
            format!("Type=oneshot with Restart={}", restart.text),
            "write Type=notify or Type=simple with RemainAfterExit=yes, or start it by a timer",
        );
    }
    if let (Some(force), "oneshot") = (service.last("RestartForceExitStatus"), name) {
        refuse(force.span(), "Type=oneshot with RestartForceExitStatus=".into(), "take it away");
    }
    if let (Some(kind), None, "dbus", false) = (kind, bus, name, drop_in) {
        refuse(kind.span(), "Type=dbus without BusName=".into(), "write BusName=");
    }
    let kill = service.last("KillMode");
    if let (Some(pam), Some(kill)) = (service.last("PAMName"), kill)
        && !["control-group", "mixed"].contains(&kill.text)
    {
        refuse(
            kill.span(),
            format!("PAMName={} with KillMode={}", pam.text, kill.text),
            "write KillMode=control-group",
        );
    }
    if let (Some(kind), "forking", None, false) = (kind, name, service.last("PIDFile"), drop_in) {
        out.push(
            Finding::warning("unit/forking", kind, "Type=forking without PIDFile=")
                .does("219 guesses which process is the main one")
                .instead("write PIDFile=, or let the program stay in the foreground with Type=simple"),
        );
    }
    if let (Some(delegate), true) = (
        service.last("ProtectHome").filter(|v| is_bool(v.text) == Some(true)),
        uses(&starts, &["/home/", "/root/", "/run/user/"]),
    ) {
        out.push(
            Finding::warning("unit/hidden-program", delegate, "ExecStart= is below what ProtectHome= hides")
                .does("the program is not found (203/EXEC)")
                .instead("put it into /usr/local/bin"),
        );
    }
    for start in starts.iter().filter(|start| uses(&[**start], &["/tmp/", "/root/", "/home/"])) {
        out.push(
            Finding::warning("unit/labelled-program", *start, "the program lies where files have a label of their own")
                .does("enforcing SELinux refuses to start it from tmp_t, admin_home_t or user_home_t (203/EXEC)")
                .instead("put it into /usr/local/bin, which restorecon labels bin_t"),
        );
    }
    out
}

fn uses(commands: &[Part<'_>], folders: &[&str]) -> bool {
    commands.iter().any(|command| {
        let path = command.text.trim_start_matches(['-', '@']);
        folders.iter().any(|folder| path.starts_with(folder))
    })
}
