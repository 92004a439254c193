//! Checks each file according to the rules for its kind.

use super::file::{File, Kind};
use super::finding::Finding;
use super::unit::{self, UnitFile};
use super::{
    chrony, enabling, firewalld, fstab, kickstart, masked, place, preset, script, sysctl, tmpfiles,
};

/// Checks one file individually. `unit` is the parsed unit if the file is a unit file.
fn check_single(file: &File<'_>, unit: Option<&UnitFile<'_>>) -> Vec<Finding> {
    let mut findings = match Kind::of(&file.path) {
        Some(Kind::Kickstart) => kickstart::check(file.text),
        Some(Kind::Unit) => unit.map_or_else(Vec::new, |unit| unit::check(file, unit)),
        Some(Kind::SystemdConf) => unit::systemd_conf::check(&file.path, file.text),
        Some(Kind::Sysctl) => sysctl::check(file.text),
        Some(Kind::Chrony) => chrony::check(file.text),
        Some(Kind::Firewalld) => firewalld::check(&file.path, file.text),
        Some(Kind::FirewalldConf) => firewalld::conf(file.text),
        Some(Kind::Fstab) => fstab::check(file.text),
        Some(Kind::Preset) => preset::check(&file.path, file.text),
        Some(Kind::Tmpfiles) => tmpfiles::check(file.text),
        Some(Kind::Script) => script::check(&file.path, file.text),
        None => Vec::new(),
    };
    if Kind::of(&file.path) != Some(Kind::Kickstart) {
        findings.extend(place::check(file));
    }
    findings
}

/// Checks each file individually and against the other files. `is_complete_set` is true if `files`
/// contains all files that are added to a node.
pub(super) fn check(files: &[File<'_>], is_complete_set: bool) -> Vec<Vec<Finding>> {
    let joined: Vec<_> = files.iter().map(unit::join).collect();
    let units: Vec<Option<UnitFile<'_>>> = files
        .iter()
        .zip(&joined)
        .map(|(file, joined)| Some(unit::read_unit(file, joined.as_ref()?)))
        .collect();
    let mut all: Vec<Vec<Finding>> = files
        .iter()
        .zip(&units)
        .map(|(file, unit)| check_single(file, unit.as_ref()))
        .collect();
    let tuned = files.iter().any(|file| {
        Kind::of(&file.path) == Some(Kind::Kickstart) && kickstart::installs(file.text, "tuned")
    });
    let presets = preset::lines(files);
    let is_enabled = |name: &str| !is_complete_set || preset::is_enabled(&presets, name);
    let mut among = unit::cross_check(&units, files, is_complete_set, is_enabled);
    among.extend(sysctl::cross_check(files, tuned));
    among.extend(kickstart::cross_check(files));
    among.extend(masked::cross_check(files));
    among.extend(firewalld::cross_check(files, is_complete_set));
    if is_complete_set {
        among.extend(preset::cross_check(files));
        among.extend(enabling::cross_check(files));
    }
    for (index, finding) in among {
        all[index].push(finding);
    }
    for findings in &mut all {
        findings.sort_by_key(|finding| finding.diagnostic.span.start);
    }
    all
}

/// Does the same as [`check`], and also runs bash on scripts if bash is installed.
pub(super) fn check_with_bash(files: &[File<'_>], is_complete_set: bool) -> Vec<Vec<Finding>> {
    let mut all = check(files, is_complete_set);
    for (file, findings) in files.iter().zip(&mut all) {
        match Kind::of(&file.path) {
            Some(Kind::Kickstart) => findings.extend(kickstart::bash(file.text)),
            Some(Kind::Script) => findings.extend(script::bash(file.text)),
            _ => continue,
        }
        findings.sort_by_key(|finding| finding.diagnostic.span.start);
    }
    all
}
