//! Checks units against each other, and each unit with its drop-ins.

use std::collections::BTreeMap;

use super::loaded::{LocatedSpan, Unit, Units};
use super::path::{is_drop_in, is_loadable, name_of};
use super::unit_file::UnitFile;
use super::{ordering_cycles, service, verify};
use crate::check::file::File;
use crate::check::finding::Finding;
use crate::check::systemd::name;
use crate::check::tables;

/// The unit folders, in the order in which systemd 219 searches them (src/shared/path-lookup.c).
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system/",
    "/run/systemd/system/",
    "/usr/local/lib/systemd/system/",
    "/usr/lib/systemd/system/",
];

/// Returns the position of a path in the search order of systemd 219.
fn rank(path: &str) -> usize {
    FOLDERS
        .iter()
        .position(|folder| path.starts_with(folder))
        .unwrap_or(FOLDERS.len())
}

/// The files of one unit: its own, and its drop-ins in the order in which systemd 219 reads them.
/// If two drop-ins have the same name, systemd reads only the drop-in in the folder that it
/// searches first.
#[derive(Debug, Default)]
struct Sources {
    own: Option<usize>,
    drop_ins: BTreeMap<String, usize>,
}

fn sources<'a>(files: &'a [File<'_>], is_complete_set: bool) -> BTreeMap<&'a str, Sources> {
    let mut all: BTreeMap<&str, Sources> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        let Some(id) =
            name_of(&file.path).filter(|_| !is_complete_set || file.path.contains("systemd/"))
        else {
            continue;
        };
        let unit = all.entry(id).or_default();
        let earlier = |other: &usize| rank(&files[*other].path) <= rank(&file.path);
        if is_drop_in(&file.path) {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            if !unit.drop_ins.get(name).is_some_and(earlier) {
                unit.drop_ins.insert(name.to_owned(), index);
            }
        } else if !unit.own.as_ref().is_some_and(earlier) {
            unit.own = Some(index);
        }
    }
    all
}

/// Checks the units of `files` against each other, and returns each finding with its file.
/// `is_complete_set` is true if the node has no units except those in `files` and CentOS's own
/// units. `is_enabled` returns whether the presets may enable the unit with this name.
pub(in crate::check) fn cross_check(
    unit_files: &[Option<UnitFile<'_>>],
    files: &[File<'_>],
    is_complete_set: bool,
    is_enabled: impl Fn(&str) -> bool,
) -> Vec<(usize, Finding)> {
    let sources = sources(files, is_complete_set);
    let mut units = Units::new();
    for (id, own) in &sources {
        // An instance without a file of its own uses the file of its template.
        let template = name::template(id);
        let base = own.own.or_else(|| sources.get(template.as_deref()?)?.own);
        let files_of: Vec<usize> = base
            .into_iter()
            .chain(own.drop_ins.values().copied())
            .collect();
        let read = || {
            files_of
                .iter()
                .filter_map(|index| Some((*index, &unit_files[*index].as_ref()?.accepted)))
        };
        let lines = read()
            .flat_map(|(index, file)| file.lines.iter().map(move |line| (index, *line)))
            .collect();
        let sections = read()
            .flat_map(|(index, file)| file.sections.iter().map(move |section| (index, *section)));
        let refused_or_masked = base.is_some_and(|index| {
            files[index].text.is_empty()
                || unit_files[index]
                    .as_ref()
                    .is_some_and(|unit| unit.accepted.stopped.is_some())
        });
        let dropped = base
            .and_then(|index| Some((index, unit_files[index].as_ref()?.joined.dropped.clone()?)));
        units.insert(
            id,
            Unit {
                sections: sections.collect(),
                lines,
                own: base,
                refused_or_masked,
                dropped,
            },
        );
    }
    let mut out = check_units(&units, files, is_complete_set);
    for (name, unit) in units.iter().filter(|(name, _)| is_enabled(name)) {
        out.extend(blocked_links(name, unit, files));
    }
    out
}

/// Returns the findings about the units, individually and in combination.
fn check_units(
    units: &Units<'_>,
    files: &[File<'_>],
    is_complete_set: bool,
) -> Vec<(usize, Finding)> {
    let mut out = ordering_cycles::find(units);
    for (name, unit) in units {
        out.extend(unknown_names(name, unit, units, is_complete_set));
        out.extend(
            missing_also(unit, units)
                .into_iter()
                .filter(|_| is_complete_set),
        );
        out.extend(installs_nothing(unit, files));
        out.extend(trigger_without_unit(name, unit, units).filter(|_| is_complete_set));
        out.extend(second_trigger(unit, files));
        out.extend(not_executable(unit, files));
        if unit.own.is_some() && !unit.refused_or_masked && is_loadable(name) {
            out.extend(verify::check(name, unit));
        }
        if name.ends_with(".service") {
            out.extend(service::advise(unit));
        }
    }
    out
}

/// Finds commands whose program is a file in the overlay without execute permission.
fn not_executable(unit: &Unit<'_>, files: &[File<'_>]) -> Vec<(usize, Finding)> {
    let commands = unit.lines.iter().filter(|(_, line)| {
        let assignment = &line.assignment;
        assignment.section.text == "Service" && assignment.key.text.starts_with("Exec")
    });
    let finding = |(file, line): &(usize, super::loaded::Line<'_>)| {
        let first = line.assignment.value.words().next()?;
        let path = first.text.trim_start_matches(['-', '@']);
        let program = files.iter().find(|file| file.path == path)?;
        program.mode.filter(|mode| mode & 0o111 == 0)?;
        let finding = Finding::error(
            "unit/program-mode",
            first,
            format!("{path} is not executable"),
        );
        let finding = finding.effect("systemd cannot start the program (203/EXEC)");
        Some((*file, finding.fix("use mode 0755")))
    };
    commands.filter_map(finding).collect()
}

/// Reports a drop-in that names a second unit to trigger. systemd 219 ignores the second name
/// (`config_parse_trigger_unit`).
fn second_trigger(unit: &Unit<'_>, files: &[File<'_>]) -> Option<(usize, Finding)> {
    let of_trigger = |(_, line): &&(usize, super::loaded::Line<'_>)| {
        ["Timer", "Path"].contains(&line.assignment.section.text)
            && line.assignment.key.text == "Unit"
    };
    let (file, line) = unit
        .lines
        .iter()
        .filter(of_trigger)
        .nth(1)
        .filter(|(file, _)| is_drop_in(&files[*file].path))?;
    let finding = Finding::error(
        "unit/unit-name",
        line.assignment.value,
        "this is a second Unit=",
    );
    Some((
        *file,
        finding
            .effect(
                "systemd uses Unit= of the unit file itself, and ignores this line of the drop-in",
            )
            .fix("change Unit= in the unit file itself"),
    ))
}

/// Returns whether a unit exists. If a template exists, all its instances exist.
fn exists(name: &str, units: &Units<'_>) -> bool {
    let template = name
        .split_once('@')
        .and_then(|(base, rest)| Some(format!("{base}@.{}", rest.rsplit_once('.')?.1)));
    let there = |name: &str| units.contains_key(name) || tables::STOCK_UNITS.contains(name);
    // Some units exist without a unit file: a mount unit can come from fstab, a device unit comes
    // from udev, and a slice needs no file. A name with a specifier is not checked.
    there(name)
        || template.is_some_and(|name| there(&name))
        || name
            .rsplit_once('.')
            .is_some_and(|(_, kind)| ["mount", "device", "slice"].contains(&kind))
        || name.contains('%')
}

fn unknown_names(
    name: &str,
    unit: &Unit<'_>,
    units: &Units<'_>,
    is_complete_set: bool,
) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    for key in ["WantedBy", "RequiredBy"] {
        for (file, word) in unit
            .words("Install", key)
            .filter(|(_, word)| word.text.contains('.') && !exists(word.text, units))
        {
            // If only some of the files are checked, the node may have other units.
            let level = if is_complete_set {
                Finding::error
            } else {
                Finding::warning
            };
            let finding = level(
                "unit/enables-nothing",
                word.span(),
                format!("the node has no unit {}", word.text),
            );
            out.push((
                file,
                finding
                    .effect(format!("systemctl creates the link, but nothing ever starts {name}"))
                    .fix(
                        "write WantedBy=multi-user.target for a service, or WantedBy=timers.target for a timer",
                    ),
            ));
        }
    }
    for key in ["Requires", "BindsTo", "Requisite"] {
        for (file, word) in unit.words("Unit", key).filter(|(_, word)| {
            is_complete_set && word.text.contains('.') && !exists(word.text, units)
        }) {
            let finding = Finding::error(
                "unit/requires-nothing",
                word,
                format!("the node has no unit {}", word.text),
            );
            out.push((
                file,
                finding
                    .effect(format!("{name} never starts"))
                    .fix("add the unit, or write Wants= if the unit is optional"),
            ));
        }
    }
    out
}

/// Finds an `Also=` for a unit that does not exist. `systemctl preset` then fails
/// (src/shared/install.c, unit_file_search). The kickstart runs this command for every unit in the
/// overlay that can be started.
fn missing_also(unit: &Unit<'_>, units: &Units<'_>) -> Vec<(usize, Finding)> {
    let missing = unit
        .words("Install", "Also")
        .filter(|(_, word)| word.text.contains('.') && !exists(word.text, units));
    missing
        .map(|(file, word)| {
            let message = format!("the node has no unit {}", word.text);
            let finding = Finding::error("unit/enables-nothing", word, message)
                .effect("systemctl preset fails, and the installation ends with an error")
                .fix("add the unit, or remove the word");
            (file, finding)
        })
        .collect()
}

/// Finds a file at the path where systemctl would create a link that enables a unit. systemctl does
/// not replace the file (src/shared/install.c, create_symlink). Drop-ins are not checked, because
/// systemctl does not read their `[Install]` sections.
fn blocked_links(name: &str, unit: &Unit<'_>, files: &[File<'_>]) -> Vec<(usize, Finding)> {
    const KEYS: [(&str, &str); 3] = [
        ("Alias", ""),
        ("WantedBy", ".wants/"),
        ("RequiredBy", ".requires/"),
    ];
    let mut out = Vec::new();
    for (key, folder) in KEYS {
        let last = if folder.is_empty() { "" } else { name };
        let words = unit.words("Install", key);
        for (file, word) in words.filter(|(file, _)| !is_drop_in(&files[*file].path)) {
            let link = format!("/etc/systemd/system/{}{folder}{last}", word.text);
            if files.iter().all(|other| other.path != link) {
                continue;
            }
            let message = format!("a file already exists at {link}");
            let finding = Finding::error("unit/enables-nothing", word, message)
                .effect("systemctl preset cannot create this link, and the installation can fail")
                .fix(if key == "Alias" && word.text == name {
                    "remove the alias, because it is the unit's own name"
                } else {
                    "remove that file"
                });
            out.push((file, finding));
        }
    }
    out
}

/// Finds an `[Install]` section that does not name a unit. Enabling a unit with this section has no
/// effect.
fn installs_nothing(unit: &Unit<'_>, files: &[File<'_>]) -> Option<(usize, Finding)> {
    const KEYS: [&str; 4] = ["WantedBy", "RequiredBy", "Alias", "Also"];
    let (file, section) = unit
        .section("Install")
        .filter(|(file, _)| !is_drop_in(&files[*file].path))?;
    if KEYS
        .iter()
        .any(|key| unit.words("Install", key).next().is_some())
    {
        return None;
    }
    let finding = Finding::error(
        "unit/enables-nothing",
        section,
        "[Install] does not name a unit that starts this unit",
    );
    Some((
        file,
        finding
            .effect("enabling the unit has no effect")
            .fix("write WantedBy=multi-user.target"),
    ))
}

fn trigger_without_unit(
    name: &str,
    unit: &Unit<'_>,
    units: &Units<'_>,
) -> Option<(usize, Finding)> {
    let (base, kind) = name
        .rsplit_once('.')
        .filter(|(_, kind)| ["timer", "path"].contains(kind))?;
    let section = if kind == "timer" { "Timer" } else { "Path" };
    let named = unit.trigger(section, "Unit");
    let started = named.map_or_else(
        || format!("{base}.service"),
        |(_, word)| word.text.to_owned(),
    );
    if exists(&started, units) {
        return None;
    }
    let (file, span): LocatedSpan<'_> = named.or_else(|| unit.section(section))?;
    let finding = Finding::error(
        "unit/enables-nothing",
        span,
        format!("the node has no unit {started}"),
    );
    Some((
        file,
        finding
            .effect(format!("the {kind} has nothing to start"))
            .fix("add the unit, or name another unit with Unit="),
    ))
}
