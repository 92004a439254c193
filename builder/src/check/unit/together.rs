//! What units say of each other.

use std::collections::BTreeMap;

use super::super::File;
use super::super::finding::Finding;
use super::super::known;
use super::read::{self, Assignment};
use super::{name_of, order};

/// A unit, with its drop-ins.
#[derive(Debug, Default)]
pub(super) struct Unit<'a> {
    /// Its assignments, each with the file it stands in.
    pub(super) assignments: Vec<(usize, Assignment<'a>)>,
}

impl<'a> Unit<'a> {
    /// The words of all values of a directive.
    pub(super) fn words(
        &self,
        section: &str,
        key: &str,
    ) -> impl Iterator<Item = (usize, super::super::text::Part<'a>)> {
        let matching = self.assignments.iter().filter(move |(_, a)| a.section.text == section && a.key.text == key);
        matching.flat_map(|(file, a)| a.value.words().map(move |word| (*file, word)))
    }

    pub(super) fn is_off(&self, key: &str) -> bool {
        let last = self.assignments.iter().rfind(|(_, a)| a.section.text == "Unit" && a.key.text == key);
        last.and_then(|(_, a)| super::value::is_bool(a.value.text)) == Some(false)
    }
}

/// What is wrong among the units of `files`: each finding with the file it is in. `whole`: nothing else is on the node, so
/// that a unit which is not among them and not CentOS's does not exist.
pub(crate) fn together(files: &[File<'_>], whole: bool) -> Vec<(usize, Finding)> {
    let joined: Vec<_> = files.iter().map(|file| name_of(&file.path).map(|_| read::join(file.text).0)).collect();
    let mut units: BTreeMap<&str, Unit<'_>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        let (Some(name), Some(text)) = (name_of(&file.path), &joined[index]) else { continue };
        if !file.path.contains("systemd/") && whole {
            continue;
        }
        let assignments = read::read(text).assignments.into_iter().map(|assignment| (index, assignment));
        units.entry(name).or_default().assignments.extend(assignments);
    }
    let mut out = order::cycles(&units);
    for (name, unit) in &units {
        out.extend(unknown_names(name, unit, &units, whole));
        out.extend(timer_without_service(name, unit, &units).filter(|_| whole));
    }
    out
}

/// Templates stand for all their instances.
fn exists(name: &str, units: &BTreeMap<&str, Unit<'_>>) -> bool {
    let template = name.split_once('@').and_then(|(base, rest)| Some(format!("{base}@.{}", rest.rsplit_once('.')?.1)));
    let there = |name: &str| units.contains_key(name) || known::STOCK_UNITS.contains(name);
    // Mounts and devices come from fstab and udev.
    there(name)
        || template.is_some_and(|name| there(&name))
        || name.rsplit_once('.').is_some_and(|(_, kind)| ["mount", "device", "slice"].contains(&kind))
        || name.contains('%')
}

fn unknown_names(name: &str, unit: &Unit<'_>, units: &BTreeMap<&str, Unit<'_>>, whole: bool) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    for key in ["WantedBy", "RequiredBy"] {
        for (file, word) in
            unit.words("Install", key).filter(|(_, word)| word.text.contains('.') && !exists(word.text, units))
        {
            // Beside this file there may be others, where it is checked alone.
            let level = if whole { Finding::error } else { Finding::warning };
            let finding = level("unit/enables-nothing", word.span(), format!("no unit {} on the node", word.text));
            out.push((
                file,
                finding
                    .does(format!("the link is made, and nothing ever starts {name}"))
                    .instead("for a service write WantedBy=multi-user.target, for a timer timers.target"),
            ));
        }
    }
    for key in ["Requires", "BindsTo", "Requisite"] {
        for (file, word) in
            unit.words("Unit", key).filter(|(_, word)| whole && word.text.contains('.') && !exists(word.text, units))
        {
            let finding = Finding::error("unit/requires-nothing", word, format!("no unit {} on the node", word.text));
            out.push((
                file,
                finding
                    .does(format!("{name} never starts"))
                    .instead("bring the unit, or write Wants= if it may be missing"),
            ));
        }
    }
    // Without one of the two no enabling does anything.
    let starts = |key: &str| unit.words("Install", key).next().is_some();
    if let (Some((file, assignment)), false) = (
        unit.assignments.iter().find(|(_, a)| a.section.text == "Install"),
        ["WantedBy", "RequiredBy", "Alias", "Also"].iter().any(|key| starts(key)),
    ) {
        let finding = Finding::error(
            "unit/enables-nothing",
            assignment.section,
            "[Install] names nothing that would start the unit",
        );
        out.push((*file, finding.does("enabling it has no effect").instead("write WantedBy=multi-user.target")));
    }
    out
}

fn timer_without_service(name: &str, unit: &Unit<'_>, units: &BTreeMap<&str, Unit<'_>>) -> Option<(usize, Finding)> {
    let (base, kind) = name.rsplit_once('.').filter(|(_, kind)| ["timer", "path"].contains(kind))?;
    let section = if kind == "timer" { "Timer" } else { "Path" };
    let named = unit.words(section, "Unit").last();
    let started = named.map_or_else(|| format!("{base}.service"), |(_, word)| word.text.to_owned());
    if exists(&started, units) {
        return None;
    }
    let place = named.map(|(file, word)| (file, word.span()));
    let place = place.or_else(|| {
        unit.assignments.iter().find(|(_, a)| a.section.text == section).map(|(file, a)| (*file, a.section.span()))
    });
    let (file, span) = place?;
    let finding = Finding::error("unit/enables-nothing", span, format!("no unit {started} on the node"));
    Some((file, finding.does(format!("the {kind} has nothing to start")).instead("bring it, or name another by Unit=")))
}
