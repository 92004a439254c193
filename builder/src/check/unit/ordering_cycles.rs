//! Finds ordering cycles. To break a cycle, systemd 219 does not start one of the cycle's units,
//! which can be a different unit at each boot (src/core/transaction.c,
//! transaction_verify_order_one).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::loaded::{Unit, Units};
use crate::check::finding::Finding;

/// The order in which systemd 219's own units start at boot (units/*.in). Each entry is a unit, and
/// the units that it waits for.
const BOOT: &[(&str, &[&str])] = &[
    (
        "basic.target",
        &[
            "sysinit.target",
            "sockets.target",
            "paths.target",
            "slices.target",
        ],
    ),
    ("sysinit.target", SYSINIT),
    (
        "local-fs.target",
        &["local-fs-pre.target", "systemd-remount-fs.service"],
    ),
    ("remote-fs.target", &["remote-fs-pre.target"]),
    // timers.target waits for sysinit.target because of systemd-tmpfiles-clean.timer.
    ("timers.target", &["sysinit.target"]),
    (
        "sockets.target",
        &[
            "systemd-journald.socket",
            "systemd-udevd-control.socket",
            "systemd-udevd-kernel.socket",
        ],
    ),
    (
        "systemd-journal-flush.service",
        &["systemd-journald.service", "systemd-remount-fs.service"],
    ),
    (
        "systemd-tmpfiles-setup.service",
        &["local-fs.target", "systemd-journal-flush.service"],
    ),
    ("systemd-sysctl.service", &["systemd-modules-load.service"]),
    (
        "systemd-update-utmp.service",
        &["systemd-tmpfiles-setup.service", "auditd.service"],
    ),
    (
        "systemd-user-sessions.service",
        &["remote-fs.target", "nss-user-lookup.target", "basic.target"],
    ),
    ("multi-user.target", &["basic.target", "rescue.target"]),
    (
        "graphical.target",
        &["multi-user.target", "display-manager.service"],
    ),
    ("rescue.target", &["sysinit.target"]),
    ("network.target", &["network-pre.target"]),
    ("network-online.target", &["network.target"]),
    ("rc-local.service", &["network.target", "basic.target"]),
];

/// The units that sysinit.target waits for.
const SYSINIT: &[&str] = &[
    "local-fs.target",
    "swap.target",
    "kmod-static-nodes.service",
    "systemd-journald.service",
    "systemd-modules-load.service",
    "systemd-random-seed.service",
    "systemd-sysctl.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-update-utmp.service",
];

/// Targets of systemd 219 with DefaultDependencies=no. Such a target does not wait for the units
/// that it wants.
const BARE: [&str; 17] = [
    "ctrl-alt-del.target",
    "final.target",
    "halt.target",
    "hibernate.target",
    "hybrid-sleep.target",
    "kexec.target",
    "local-fs.target",
    "poweroff.target",
    "reboot.target",
    "remote-fs.target",
    "runlevel0.target",
    "runlevel6.target",
    "shutdown.target",
    "sleep.target",
    "suspend.target",
    "timers.target",
    "umount.target",
];

/// The file and the position of the text that states an ordering, or `None` if no checked file
/// states the ordering.
type Origin = Option<(usize, Range<usize>)>;

/// The units that each unit waits for, each with the origin of the ordering.
type OrderingGraph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Origin>>;

/// Returns the implicit orderings of a unit: the units that it waits for, and the units that wait
/// for it (`*_add_default_dependencies` in src/core/*.c).
fn defaults(id: &str, unit: &Unit<'_>) -> (&'static [&'static str], &'static [&'static str]) {
    match id.rsplit_once('.').map(|(_, kind)| kind) {
        Some("service") => (&["basic.target"], &["shutdown.target"]),
        Some("socket") => (&["sysinit.target"], &["sockets.target", "shutdown.target"]),
        Some("timer") if unit.last("Timer", "OnCalendar").is_some() => (
            &["sysinit.target", "time-sync.target"],
            &["timers.target", "shutdown.target"],
        ),
        Some("timer") => (&["sysinit.target"], &["timers.target", "shutdown.target"]),
        Some("path") => (&["sysinit.target"], &["paths.target", "shutdown.target"]),
        Some("mount" | "automount") => (&[], &["umount.target"]),
        Some("swap") => (&[], &["swap.target", "umount.target"]),
        _ => (&[], &[]),
    }
}

/// Returns the unit that a timer, a path or a socket starts, and the position of that unit's name.
/// If the section does not name the unit, the position is that of the section.
fn triggered(id: &str, unit: &Unit<'_>) -> Option<(String, Origin)> {
    let (base, kind) = id.rsplit_once('.')?;
    let (section, key) = match kind {
        "timer" => ("Timer", "Unit"),
        "path" => ("Path", "Unit"),
        "socket" if unit.switch("Socket", "Accept") != Some(true) => ("Socket", "Service"),
        _ => return None,
    };
    let named = if kind == "socket" {
        unit.last(section, key)
    } else {
        unit.trigger(section, key)
    };
    Some(match named {
        Some((file, name)) => (name.text.to_owned(), Some((file, name.span()))),
        None => (
            format!("{base}.service"),
            unit.section(section)
                .map(|(file, section)| (file, section.span())),
        ),
    })
}

fn ordering_graph<'a>(units: &Units<'a>) -> OrderingGraph<'a> {
    let mut graph: OrderingGraph<'_> = BTreeMap::new();
    let mut add = |later, earlier, origin| {
        // systemd ignores an ordering of a unit relative to itself.
        if later != earlier {
            graph
                .entry(later)
                .or_default()
                .entry(earlier)
                .or_insert(origin);
        }
    };
    for (later, earlier) in BOOT {
        for earlier in *earlier {
            add(later, earlier, None);
        }
    }
    for (name, unit) in units {
        for (file, word) in unit.words("Unit", "After") {
            add(name, word.text, Some((file, word.span())));
        }
        for (file, word) in unit.words("Unit", "Before") {
            add(word.text, name, Some((file, word.span())));
        }
        if has_defaults(unit) {
            let (earlier, later) = defaults(name, unit);
            for earlier in earlier {
                add(name, earlier, None);
            }
            for later in later {
                add(later, name, None);
            }
        }
    }
    for (name, unit) in units {
        // A unit is ordered before the unit that it triggers. The order matters only if something
        // else also starts the triggered unit.
        if let Some((started, origin)) = triggered(name, unit)
            && let Some((own, other)) = units.get_key_value(started.as_str())
            && ["WantedBy", "RequiredBy"]
                .iter()
                .any(|key| other.words("Install", key).next().is_some())
        {
            graph.entry(own).or_default().entry(name).or_insert(origin);
        }
    }
    add_targets(units, &mut graph);
    graph
}

/// Returns whether systemd 219 adds the default dependencies to a unit.
fn has_defaults(unit: &Unit<'_>) -> bool {
    unit.switch("Unit", "DefaultDependencies") != Some(false)
}

fn add_targets<'a>(units: &Units<'a>, graph: &mut OrderingGraph<'a>) {
    // A target waits for the units that it wants, unless it is already ordered before these units
    // (`unit_add_default_target_dependency`).
    for (name, unit) in units.iter().filter(|(_, unit)| has_defaults(unit)) {
        let wanted = unit
            .words("Install", "WantedBy")
            .chain(unit.words("Install", "RequiredBy"));
        let of_target = |target: &str| {
            units
                .get(target)
                .map_or(!BARE.contains(&target), has_defaults)
        };
        for (file, word) in
            wanted.filter(|(_, word)| word.text.ends_with(".target") && of_target(word.text))
        {
            let is_before = graph
                .get(name)
                .is_some_and(|earlier| earlier.contains_key(word.text));
            if !is_before && word.text != *name {
                graph
                    .entry(word.text)
                    .or_default()
                    .entry(name)
                    .or_insert(Some((file, word.span())));
            }
        }
    }
}

/// Finds, for each of these units, the shortest cycle that contains the unit. Reports each cycle
/// once.
pub(super) fn find(units: &Units<'_>) -> Vec<(usize, Finding)> {
    let graph = ordering_graph(units);
    let mut out = Vec::new();
    let mut reported = BTreeSet::new();
    for name in units.keys() {
        let Some(cycle) = shortest_cycle(name, &graph) else {
            continue;
        };
        let mut sorted = cycle.clone();
        sorted.sort_unstable();
        if !reported.insert(sorted) {
            continue;
        }
        // The finding points to a line of one of these units.
        let mut steps = cycle.iter().zip(cycle.iter().cycle().skip(1));
        let Some((file, span)) = steps.find_map(|(later, earlier)| graph[later][earlier].clone())
        else {
            continue;
        };
        let shown = cycle
            .iter()
            .chain([name])
            .copied()
            .collect::<Vec<_>>()
            .join(" after ");
        out.push((
            file,
            Finding::error("unit/ordering-cycle", span, format!("the units wait for each other: {shown}"))
                .effect("systemd does not start one of the units, which can be a different unit at each boot")
                .fix("remove one of the orderings; a unit that runs before basic.target needs DefaultDependencies=no"),
        ));
    }
    out
}

/// Returns the shortest cycle from a unit back to itself, in which each unit waits for the next
/// unit.
fn shortest_cycle<'a>(name: &'a str, graph: &OrderingGraph<'a>) -> Option<Vec<&'a str>> {
    let mut came: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([name]);
    while let Some(at) = queue.pop_front() {
        for next in graph.get(at).into_iter().flat_map(BTreeMap::keys) {
            if *next == name {
                let mut way = vec![at];
                while let Some(before) = came
                    .get(way[way.len() - 1])
                    .filter(|_| way[way.len() - 1] != name)
                {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if !came.contains_key(next) {
                came.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}
