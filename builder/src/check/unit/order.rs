//! Ordering cycles: 219 breaks one by leaving out a unit of its own choice, at each boot perhaps another
//! (src/core/transaction.c, transaction_verify_order_one).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::super::finding::Finding;
use super::together::Unit;

/// The order of a boot, from systemd's own units (bootup(7)).
const BOOT: [(&str, &str); 16] = [
    ("local-fs-pre.target", "local-fs.target"),
    ("local-fs.target", "sysinit.target"),
    ("swap.target", "sysinit.target"),
    ("cryptsetup.target", "sysinit.target"),
    ("systemd-tmpfiles-setup.service", "sysinit.target"),
    ("local-fs.target", "systemd-tmpfiles-setup.service"),
    ("systemd-sysctl.service", "sysinit.target"),
    ("sysinit.target", "basic.target"),
    ("sockets.target", "basic.target"),
    ("timers.target", "basic.target"),
    ("paths.target", "basic.target"),
    ("slices.target", "basic.target"),
    ("basic.target", "multi-user.target"),
    ("multi-user.target", "graphical.target"),
    ("network-pre.target", "network.target"),
    ("network.target", "network-online.target"),
];

/// Who waits for whom, and where that is said.
type Waits<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Option<(usize, Range<usize>)>>>;

/// A finding for each cycle that one of these units is part of.
pub(super) fn cycles(units: &BTreeMap<&str, Unit<'_>>) -> Vec<(usize, Finding)> {
    let mut waits: Waits<'_> = BTreeMap::new();
    let mut add = |later, earlier, place| {
        waits.entry(later).or_default().entry(earlier).or_insert(place);
    };
    for (earlier, later) in BOOT {
        add(later, earlier, None);
    }
    for (name, unit) in units {
        for (file, word) in unit.words("Unit", "After") {
            add(name, word.text, Some((file, word.span())));
        }
        for (file, word) in unit.words("Unit", "Before") {
            add(word.text, name, Some((file, word.span())));
        }
        if unit.is_off("DefaultDependencies") {
            continue;
        }
        // What a unit has without saying so (service_add_default_dependencies, and its like in socket.c, timer.c, path.c).
        match name.rsplit_once('.').map(|(_, kind)| kind) {
            Some("service") => add(name, "basic.target", None),
            Some("socket" | "timer" | "path") => add(name, "sysinit.target", None),
            _ => {}
        }
        // A target waits for what it wants, unless the unit says that it comes after the target.
        for (file, word) in unit.words("Install", "WantedBy").chain(unit.words("Install", "RequiredBy")) {
            if word.text.ends_with(".target") && !unit.words("Unit", "After").any(|(_, after)| after.text == word.text)
            {
                add(word.text, name, Some((file, word.span())));
            }
        }
    }
    let mut out = Vec::new();
    let mut told = BTreeSet::new();
    for name in units.keys() {
        let Some(cycle) = back_to(name, &waits) else { continue };
        let mut sorted = cycle.clone();
        sorted.sort_unstable();
        if !told.insert(sorted) {
            continue;
        }
        // Blamed is a line that one of the units itself has.
        let mut steps = cycle.iter().zip(cycle.iter().cycle().skip(1));
        let Some((file, span)) = steps.find_map(|(later, earlier)| waits[later][earlier].clone()) else {
            continue;
        };
        let shown = cycle.iter().chain([name]).copied().collect::<Vec<_>>().join(" after ");
        out.push((
            file,
            Finding::error("unit/ordering-cycle", span, format!("the units wait for each other: {shown}"))
                .does("219 leaves out one of them, and not always the same")
                .instead(
                    "take one of the orderings away; what is to run before basic.target needs DefaultDependencies=no",
                ),
        ));
    }
    out
}

/// The shortest way from a unit, by what it waits for, back to itself.
fn back_to<'a>(name: &'a str, waits: &Waits<'a>) -> Option<Vec<&'a str>> {
    let mut came: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([name]);
    while let Some(at) = queue.pop_front() {
        for next in waits.get(at).into_iter().flat_map(BTreeMap::keys) {
            if *next == name {
                let mut way = vec![at];
                while let Some(before) = came.get(way[way.len() - 1]).filter(|_| way[way.len() - 1] != name) {
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
