//! Checks a unit as a whole, as systemd 219's `*_verify` functions and its unit-loading code do
//! (src/core/service.c, socket.c, timer.c, path.c, mount.c, automount.c, swap.c, slice.c, unit.c).
//! systemd stops at the first failure.

mod ports;

use self::ports::ports;
use super::context::Context;
use super::loaded::{LocatedSpan, Unit};
use super::refusal::{Refusal, refused};
use crate::check::finding::Finding;
use crate::check::systemd::name;
use crate::check::systemd::number;
use crate::check::systemd::specifier::Table;
use crate::check::systemd::words::{clean_path, is_safe_path};

/// Returns the first reason why systemd 219 refuses a unit.
pub(super) fn check(id: &str, unit: &Unit<'_>) -> Option<(usize, Finding)> {
    let kind = name::type_of(id)?;
    let section = super::path::section_of(id)?;
    let refusal = match kind {
        "service" => unsafe_folders(unit, section).or_else(|| super::service::verify(unit)),
        "socket" => socket(unit).or_else(|| killed_by_pam(unit, section)),
        "timer" => timer(unit),
        "path" => path(unit),
        "mount" => mount(id, unit)
            .or_else(|| unsafe_folders(unit, section))
            .or_else(|| killed_by_pam(unit, section)),
        "automount" => automount(id, unit),
        "swap" => swap(id, unit)
            .or_else(|| unsafe_folders(unit, section))
            .or_else(|| killed_by_pam(unit, section)),
        "slice" => slice(id, unit),
        "scope" => Some(refused(
            None,
            "systemd 219 creates scopes only for programs that request them, not from files".into(),
            "write a slice or a service",
        )),
        _ => None,
    };
    let Refusal {
        at,
        rule,
        message,
        fix,
    } = refusal.or_else(|| isolating(unit))?;
    if let (None, Some((file, span))) = (at, unit.dropped.clone()) {
        let finding = Finding::error(
            "unit/continuation",
            span,
            format!("{message}, because systemd 219 drops this line"),
        );
        return Some((
            file,
            finding
                .effect("systemd refuses to load the unit")
                .fix("remove the \\ at the end"),
        ));
    }
    let (file, span) = match at.or_else(|| unit.section(section)) {
        Some((file, part)) => (file, part.span()),
        None => (unit.own?, 0..0),
    };
    Some((
        file,
        Finding::error(rule, span, message)
            .effect("systemd refuses to load the unit")
            .fix(fix),
    ))
}

/// Refuses a path that systemd 219 does not accept in a dependency on mounts
/// (`unit_require_mounts_for`).
fn unsafe_path(at: LocatedSpan<'_>) -> Option<Refusal<'_>> {
    let text = at.1.text;
    let is_safe = text.contains('%') || (text.starts_with('/') && is_safe_path(&clean_path(text)));
    (!is_safe).then(|| {
        refused(
            Some(at),
            format!("`{text}` is not an absolute path without . and .."),
            "write the full path",
        )
    })
}

fn unsafe_folders<'a>(unit: &Unit<'a>, section: &str) -> Option<Refusal<'a>> {
    ["WorkingDirectory", "RootDirectory"]
        .into_iter()
        .find_map(|key| unsafe_path(unit.last(section, key)?))
}

/// Refuses PAMName= with a KillMode= other than control-group, because systemd must kill the
/// processes that a PAM session leaves behind.
fn killed_by_pam<'a>(unit: &Unit<'a>, section: &str) -> Option<Refusal<'a>> {
    let pam = unit.last(section, "PAMName")?;
    let mode = unit
        .last(section, "KillMode")
        .filter(|(_, mode)| mode.text != "control-group")?;
    let message = format!(
        "PAMName={} cannot be combined with KillMode={}",
        pam.1.text, mode.1.text
    );
    Some(refused(Some(mode), message, "write KillMode=control-group"))
}

fn socket<'a>(unit: &Unit<'a>) -> Option<Refusal<'a>> {
    let ports = ports(unit);
    if let Some(refusal) = ports
        .iter()
        .find_map(|port| unsafe_path((port.at.0, port.path?)))
    {
        return Some(refusal);
    }
    if ports.is_empty() {
        return Some(refused(
            None,
            "the socket has no address to listen on".into(),
            "write ListenStream= or another Listen…=",
        ));
    }
    let runs = [
        "ExecStartPre",
        "ExecStartPost",
        "ExecStopPre",
        "ExecStopPost",
    ];
    if runs.iter().any(|key| !unit.all("Socket", key).is_empty())
        && let Some(refusal) = unsafe_folders(unit, "Socket")
    {
        return Some(refusal);
    }
    if unit.switch("Socket", "Accept") == Some(true) {
        let no = "write Accept=no";
        if let Some(port) = ports.iter().find(|port| !port.accepts) {
            return Some(refused(
                Some(port.at),
                "Accept=yes is set on a socket that does not accept connections".into(),
                no,
            ));
        }
        let most = unit
            .last("Socket", "MaxConnections")
            .filter(|(_, most)| number::unsigned(most.text) == Some(0));
        if let Some(most) = most {
            return Some(refused(
                Some(most),
                "Accept=yes cannot be combined with MaxConnections=0".into(),
                "allow at least one connection",
            ));
        }
        if let Some(service) = unit.last("Socket", "Service") {
            return Some(refused(
                Some(service),
                "Service= is set with Accept=yes, which starts NAME@.service instead".into(),
                no,
            ));
        }
    }
    let links = unit.last("Socket", "Symlinks")?;
    (ports.iter().filter(|port| port.is_node).count() != 1).then(|| {
        refused(
            Some(links),
            "Symlinks= needs exactly one socket or FIFO in the file system".into(),
            "remove it",
        )
    })
}

fn timer<'a>(unit: &Unit<'a>) -> Option<Refusal<'a>> {
    const KEYS: [&str; 6] = [
        "OnCalendar",
        "OnActiveSec",
        "OnBootSec",
        "OnStartupSec",
        "OnUnitActiveSec",
        "OnUnitInactiveSec",
    ];
    unit.since_reset("Timer", &KEYS).is_empty().then(|| {
        refused(
            None,
            "the timer has no time at which it elapses".into(),
            "write OnCalendar= or another On…Sec=",
        )
    })
}

fn path<'a>(unit: &Unit<'a>) -> Option<Refusal<'a>> {
    const KEYS: [&str; 5] = [
        "PathExists",
        "PathExistsGlob",
        "PathChanged",
        "PathModified",
        "DirectoryNotEmpty",
    ];
    let watched = unit.since_reset("Path", &KEYS);
    if let Some(refusal) = watched
        .iter()
        .find_map(|(file, line)| unsafe_path((*file, line.assignment.value)))
    {
        return Some(refusal);
    }
    watched.is_empty().then(|| {
        refused(
            None,
            "the path unit has no path to watch".into(),
            "write PathExists= or a similar directive",
        )
    })
}

/// Returns the path that a unit manages, from the directive `key`, or from the unit's name if the
/// directive is missing.
fn subject<'a>(
    id: &str,
    unit: &Unit<'a>,
    section: &str,
    key: &str,
) -> (Option<LocatedSpan<'a>>, String) {
    let at = unit.last(section, key);
    (
        at,
        clean_path(&at.map_or_else(
            || name::to_path(name::prefix(id)),
            |(_, path)| path.text.to_owned(),
        )),
    )
}

/// Checks that the name of a unit matches its path.
fn name_mismatch<'a>(
    id: &str,
    at: Option<LocatedSpan<'a>>,
    path: &str,
    key: &str,
) -> Option<Refusal<'a>> {
    let own = name::from_path(path, name::type_of(id)?);
    (own != id).then(|| {
        refused(
            at,
            format!("a unit with {key}={path} must be named {own}, not {id}"),
            "rename the unit",
        )
    })
}

// File systems that systemd 219 mounts itself (src/core/mount-setup.c).
const MOUNTED_BY_SYSTEMD: [&str; 14] = [
    "/sys",
    "/proc",
    "/dev",
    "/sys/kernel/security",
    "/sys/fs/smackfs",
    "/dev/shm",
    "/dev/pts",
    "/run",
    "/sys/fs/cgroup",
    "/sys/fs/pstore",
    "/sys/firmware/efi/efivars",
    "/sys/fs/selinux",
    "/proc/sys",
    "/proc/kmsg",
];
/// The file systems that systemd 219 treats as network file systems.
const NETWORK: [&str; 15] = [
    "afs",
    "cifs",
    "smb3",
    "smbfs",
    "sshfs",
    "ncpfs",
    "ncp",
    "nfs",
    "nfs4",
    "gfs",
    "gfs2",
    "glusterfs",
    "pvfs2",
    "ocfs2",
    "lustre",
];
fn mount<'a>(id: &str, unit: &Unit<'a>) -> Option<Refusal<'a>> {
    let (at, path) = subject(id, unit, "Mount", "Where");
    let what = unit.last("Mount", "What");
    let is_network = |unit: &Unit<'_>| {
        let has = |key: &str, words: &[&str]| {
            unit.last("Mount", key).is_some_and(|(_, value)| {
                value
                    .text
                    .split(',')
                    .any(|word| words.contains(&word.strip_prefix("fuse.").unwrap_or(word)))
            })
        };
        has("Options", &["_netdev"]) || has("Type", &NETWORK)
    };
    if !is_safe_path(&path) {
        return Some(refused(
            at,
            format!("`{path}` is not an absolute path without . and .."),
            "write the full path",
        ));
    }
    if let Some(what) = what.filter(|(_, what)| what.text.starts_with('/') && !is_network(unit))
        && let Some(refusal) = unsafe_path(what)
    {
        return Some(refusal);
    }
    if let Some(refusal) = name_mismatch(id, at, &path, "Where") {
        return Some(refusal);
    }
    if MOUNTED_BY_SYSTEMD.contains(&path.as_str())
        || path == "/dev/console"
        || path.starts_with("/sys/fs/cgroup/")
    {
        return Some(refused(
            at,
            format!("{path} is a file system that systemd 219 mounts itself"),
            "remove the unit",
        ));
    }
    what.is_none().then(|| {
        refused(
            None,
            "the mount unit has no What=".into(),
            "set What= to the device or directory to mount",
        )
    })
}

fn automount<'a>(id: &str, unit: &Unit<'a>) -> Option<Refusal<'a>> {
    let (at, path) = subject(id, unit, "Automount", "Where");
    if path == "/" || !is_safe_path(&path) {
        return Some(refused(
            at,
            format!("systemd 219 cannot automount {path}"),
            "name a folder below /, without . and ..",
        ));
    }
    name_mismatch(id, at, &path, "Where")
}

fn swap<'a>(id: &str, unit: &Unit<'a>) -> Option<Refusal<'a>> {
    let (at, path) = subject(id, unit, "Swap", "What");
    if !is_safe_path(&path) {
        return Some(refused(
            at,
            format!("`{path}` is not an absolute path without . and .."),
            "write the full path",
        ));
    }
    name_mismatch(id, at, &path, "What")
}

fn slice<'a>(id: &str, unit: &Unit<'a>) -> Option<Refusal<'a>> {
    let at = unit.last("Slice", "Slice")?;
    let parent = name::stem(id)
        .rsplit_once('-')
        .map_or("-.slice".to_owned(), |(parent, _)| {
            format!("{parent}.slice")
        });
    let own = Context::of_unit(id, false)
        .first(Table::Name, at.1.text)
        .ok()?;
    (own != parent).then(|| {
        refused(
            Some(at),
            format!("according to its name, {id} is below {parent}, not below {own}"),
            "remove Slice=",
        )
    })
}

/// Refuses several OnFailure= units with OnFailureJobMode=isolate, because the start of each of
/// these units stops the others (`unit_load`).
fn isolating<'a>(unit: &Unit<'a>) -> Option<Refusal<'a>> {
    let modes = unit.lines.iter().rfind(|(_, line)| {
        line.assignment.section.text == "Unit"
            && ["OnFailureJobMode", "OnFailureIsolate"].contains(&line.assignment.key.text)
    });
    let (file, line) = modes?;
    let value = line.assignment.value;
    let mut units: Vec<&str> = unit
        .words("Unit", "OnFailure")
        .map(|(_, word)| word.text)
        .collect();
    units.sort_unstable();
    units.dedup();
    let isolates = value.text == "isolate" || number::boolean(value.text) == Some(true);
    (isolates && units.len() > 1).then(|| {
        refused(
            Some((*file, value)),
            "OnFailureJobMode=isolate allows only one unit in OnFailure=".into(),
            "name only one unit",
        )
    })
}
