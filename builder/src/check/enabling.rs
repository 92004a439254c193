//! Finds units and presets that make a `systemctl` command in the kickstart's %post fail. The
//! installation then ends with an error. systemd treats an empty file as a masked unit. `systemctl
//! preset` fails if the presets enable a masked unit, and does nothing if the presets disable such
//! a unit (redhat-plumbers/systemd-rhel7, src/shared/install.c, unit_file_load, preset_prepare_one
//! and install_context_mark_for_removal).

use super::file::File;
use super::finding::Finding;
use super::masked::masks;
use super::preset::{self, APPLIED, IMAGE, PresetLine};
use super::unit;

/// The units that packages install and that must be enabled at the end of the installation. The
/// kickstart applies the presets to such a unit only if the overlay contains the unit.
const CHECKED: [&str; 2] = ["chronyd.service", "sshd.service"];

/// Returns whether the installation ends with an error if a unit is not enabled.
fn is_required(name: &str, files: &[File<'_>], lines: &[PresetLine<'_>]) -> bool {
    (APPLIED.contains(&name) || CHECKED.contains(&name))
        && lines
            .iter()
            .any(|line| line.enables && line.pattern.text == name && files[line.file].path == IMAGE)
}

pub(super) fn cross_check(files: &[File<'_>]) -> Vec<(usize, Finding)> {
    let lines = preset::lines(files);
    let mut out = masked_units(files, &lines);
    let in_overlay = |name: &&str| {
        files
            .iter()
            .any(|file| unit::startable(file) == Some(*name))
    };
    let applied = APPLIED.into_iter();
    for name in applied.chain(CHECKED.into_iter().filter(in_overlay)) {
        let disables = preset::deciding(&lines, name).filter(|line| !line.enables);
        let Some(line) = disables.filter(|_| is_required(name, files, &lines)) else {
            continue;
        };
        let is_reported =
            |(_, finding): &(usize, Finding)| finding.diagnostic.span == line.pattern.span();
        if out
            .iter()
            .filter(|(file, _)| *file == line.file)
            .any(is_reported)
        {
            continue;
        }
        let message = format!("the line disables {name}, which every node needs");
        let finding = Finding::error("preset/stops", line.pattern, message)
            .effect("the installation ends with an error")
            .fix("remove the line, or name the other units individually");
        out.push((line.file, finding));
    }
    out
}

/// Returns an error for each masked unit that makes the installation end with an error.
fn masked_units(files: &[File<'_>], lines: &[PresetLine<'_>]) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let Some(name) = unit::startable(file).filter(|_| file.text.is_empty()) else {
            continue;
        };
        let required = is_required(name, files, lines);
        if masks(&file.path, files).is_some() || !(required || preset::is_enabled(lines, name)) {
            continue;
        }
        let (who, fix) = if required {
            ("every node needs", "remove the file".to_owned())
        } else {
            let fix = format!(
                "remove the file, or add `disable {name}` to a preset that systemd reads first, \
                 such as /usr/lib/systemd/system-preset/05-own.preset"
            );
            ("the presets enable", fix)
        };
        let message = format!("the empty file masks {name}, which {who}");
        let finding = Finding::error("preset/stops", 0..0, message)
            .effect("systemctl fails, and the installation ends with an error")
            .fix(fix);
        out.push((index, finding));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_kickstart_has_no_other_required_units() {
        let kickstart = include_str!("../../../kickstart/centos7.ks");
        let after = |start: &str| -> BTreeSet<String> {
            let lines = kickstart
                .lines()
                .filter_map(|line| line.strip_prefix(start));
            let words = lines.flat_map(|line| line.split(" ||").next().unwrap().split(' '));
            words
                .filter(|word| word.contains('.'))
                .map(str::to_owned)
                .collect()
        };
        let listed = kickstart.split_once("for unit in firstboot ").unwrap().1;
        let listed = listed.split_once("; do").unwrap().0.split(' ');
        let mut required = after("systemctl is-enabled ");
        required.extend(listed.map(|name| format!("{name}.service")));
        required.insert("firstboot.service".to_owned());
        let set = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        assert_eq!(after("systemctl preset "), set(&APPLIED));
        assert_eq!(required, set(&[&APPLIED[..], &CHECKED[..]].concat()));
    }
}
