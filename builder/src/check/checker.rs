//! Checks each file by the rules for its kind.

use super::file::{File, Kind};
use super::finding::Finding;
use super::unit::{self, UnitFile};
use super::{chrony, firewalld, fstab, kickstart, masked, place, preset, sysctl, text, tmpfiles};

/// Checks one file individually. `unit` is the parsed unit if the file is a unit file.
fn check_single(file: &File<'_>, unit: Option<&UnitFile<'_>>) -> Vec<Finding> {
    let mut findings = match Kind::of(&file.path) {
        Some(Kind::Kickstart) => kickstart::check(file.text),
        Some(Kind::Unit) => unit.map_or_else(Vec::new, |unit| unit::check(file, unit)),
        Some(Kind::Daemon) => unit::daemon::check(&file.path, file.text),
        Some(Kind::Sysctl) => sysctl::check(file.text),
        Some(Kind::Chrony) => chrony::check(file.text),
        Some(Kind::Firewalld) => firewalld::check(&file.path, file.text),
        Some(Kind::FirewalldConf) => firewalld::conf(file.text),
        Some(Kind::Fstab) => fstab::check(file.text),
        Some(Kind::Preset) => preset::check(&file.path, file.text),
        Some(Kind::Tmpfiles) => tmpfiles::check(file.text),
        // Only bash can check a script.
        Some(Kind::Script) | None => Vec::new(),
    };
    if Kind::of(&file.path) != Some(Kind::Kickstart) {
        findings.extend(place::check(file));
    }
    findings
}

/// Checks each file individually and against the other files. `whole` is true if `files` contains
/// all files that are added to a node.
pub(super) fn check(files: &[File<'_>], whole: bool) -> Vec<Vec<Finding>> {
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
    let mut among = unit::cross_check(&units, files, whole);
    among.extend(sysctl::cross_check(files, tuned));
    among.extend(kickstart::cross_check(files));
    among.extend(masked::cross_check(files));
    if whole {
        among.extend(preset::cross_check(files));
    }
    for (index, finding) in among {
        all[index].push(finding);
    }
    for findings in &mut all {
        findings.sort_by_key(|finding| finding.diagnostic.span.start);
    }
    all
}

/// Returns a finding if bash cannot parse a shell script.
fn script(text: &str) -> Option<Finding> {
    let shell = text
        .lines()
        .next()
        .is_none_or(|first| !first.starts_with("#!") || first.contains("sh"));
    let (line, message) = shell.then(|| kickstart::bash_says(text)).flatten()?;
    let place = text::TextSpan::whole(text)
        .lines()
        .nth(line - 1)
        .map_or(0..0, |line| line.trim().span());
    let finding = Finding::error(
        "script/bash",
        place,
        format!("bash cannot parse this: {message}"),
    );
    Some(
        finding
            .effect("bash runs the commands above this line and then stops")
            .fix("correct the syntax; `bash -n` reports the same error"),
    )
}

/// Does the same as [`check`], and also runs bash on scripts if bash is installed.
pub(super) fn check_with_bash(files: &[File<'_>], whole: bool) -> Vec<Vec<Finding>> {
    let mut all = check(files, whole);
    for (file, findings) in files.iter().zip(&mut all) {
        match Kind::of(&file.path) {
            Some(Kind::Kickstart) => findings.extend(kickstart::bash(file.text)),
            Some(Kind::Script) => findings.extend(script(file.text)),
            _ => continue,
        }
        findings.sort_by_key(|finding| finding.diagnostic.span.start);
    }
    all
}
