//! Compares the checker's findings with the recorded verdicts of the real systemd 219
//! (../verdicts). The checker must report an error exactly where systemd refuses or ignores a line.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::check::checker::check as check_files;
use crate::check::file::File;
use crate::check::finding::Finding;
use crate::check::rules::{self, RuleKind};
use crate::check::tables;

const VALUES: &str = include_str!("../verdicts/values.txt");
const COMMANDS: &str = include_str!("../verdicts/commands.txt");
const UNITS: &str = include_str!("../verdicts/units.txt");

/// Returns the name of a unit whose type has this section.
fn unit_with(section: &str) -> &'static str {
    match section {
        "Mount" => "a-b.mount",
        "Automount" => "a-b.automount",
        "Swap" => "dev-x.swap",
        "Slice" => "zz.slice",
        "Timer" => "fz.timer",
        "Path" => "fz.path",
        "Socket" => "fz.socket",
        "Scope" => "fz.scope",
        "BusName" => "fz.busname",
        _ => "fz.service",
    }
}

/// Returns the lines of a table, each with its header and its verdict.
fn table(text: &'static str) -> impl Iterator<Item = (&'static str, char, &'static str)> {
    let mut header = "";
    text.lines()
        .filter(|line| !line.starts_with("# "))
        .filter_map(move |line| {
            if let Some((verdict @ ("a " | "r " | "c "), value)) = line.split_at_checked(2) {
                return Some((header, verdict.chars().next()?, value));
            }
            header = line;
            None
        })
}

fn line_of(finding: &Finding, text: &str) -> usize {
    finding.diagnostic.position(text).0
}

/// Returns whether a finding means that systemd 219 refuses or ignores a line.
fn refuses(finding: &Finding) -> bool {
    rules::kind(finding.rule) == RuleKind::Parser && finding.stops_build(false)
}

#[test]
fn every_value_is_checked_as_systemd_219_checks_it() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (directive, verdict, value) in table(VALUES) {
        let (section, key) = directive.split_once('.').unwrap();
        let path = format!("/etc/systemd/system/{}", unit_with(section));
        let file = File {
            shown: path.clone(),
            path,
            text: &format!("[{section}]\n{key}={value}\n"),
            mode: None,
        };
        let joined = join(&file).unwrap();
        let findings = check(&file, &read_unit(&file, &joined));
        let said = match (
            findings.iter().any(refuses),
            findings.iter().any(|f| f.rule == "unit/compiled-out"),
        ) {
            (true, _) => 'r',
            (false, true) => 'c',
            (false, false) => 'a',
        };
        if said != verdict {
            wrong.push(format!(
                "{directive}={value}: systemd 219 answers {verdict}, the checker {said}"
            ));
        }
        seen.insert(tables::UNITS[section][key]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let types = tables::UNITS
        .iter()
        .filter(|(section, _)| **section != "Install")
        .flat_map(|(_, keys)| keys.values());
    let unseen: Vec<_> = types
        .filter(|value_type| !seen.contains(**value_type))
        .collect();
    assert!(unseen.is_empty(), "no verdict for {unseen:?}");
}

#[test]
fn every_command_line_is_checked_as_systemd_219_checks_it() {
    let mut wrong = Vec::new();
    for (kind, verdict, value) in table(COMMANDS) {
        let first = if kind == "oneshot" {
            "ExecStart=/bin/true\n"
        } else {
            ""
        };
        let text = format!("[Service]\nType={kind}\n{first}ExecStart={value}\n");
        let file = File {
            shown: "x".into(),
            path: "/etc/systemd/system/ex.service".into(),
            text: &text,
            mode: None,
        };
        let said = check_files(&[file], false).remove(0).iter().any(refuses);
        if said != (verdict == 'r') {
            wrong.push(format!("{kind} {value}: systemd 219 answers {verdict}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A unit and its drop-ins, each with the lines for which systemd 219 logs a message.
struct Case {
    refused: bool,
    files: Vec<(&'static str, BTreeSet<usize>, &'static str)>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for part in UNITS.split("==> ").skip(1) {
        let (header, text) = part.split_once(" <==\n").unwrap();
        let (name, words) = header.split_once(' ').unwrap();
        let lines = words
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        if !name.contains('/') {
            cases.push(Case {
                refused: words.starts_with("refused"),
                files: Vec::new(),
            });
        }
        cases.last_mut().unwrap().files.push((name, lines, text));
    }
    cases
}

/// The rules of findings about the whole unit. systemd does not name a line when it logs such a
/// fault.
const OF_THE_UNIT: [&str; 3] = ["unit/refused", "unit/second-command", "unit/continuation"];

#[test]
fn every_unit_is_checked_as_systemd_219_checks_it() {
    let mut wrong = Vec::new();
    for case in cases() {
        let file = |(name, _, text): &(&str, _, &'static str)| {
            let path = format!("/etc/systemd/system/{name}");
            File {
                shown: path.clone(),
                path,
                text,
                mode: None,
            }
        };
        let files: Vec<File<'_>> = case.files.iter().map(file).collect();
        let all = check_files(&files, false);
        let own = all[0]
            .iter()
            .chain(all.iter().flatten())
            .filter(|finding| refuses(finding));
        let refused = own.clone().any(|finding| {
            finding
                .diagnostic
                .label
                .contains("refuses to load the unit")
        });
        if refused != case.refused {
            wrong.push(format!(
                "{}: systemd 219 refuses: {}\n{}",
                case.files[0].0, case.refused, case.files[0].2
            ));
        }
        let unread = all[0]
            .iter()
            .any(|finding| ["unit/no-assignment", "unit/section-header"].contains(&finding.rule));
        for ((name, lines, text), findings) in case.files.iter().zip(&all) {
            let stop = first_stop(findings, text);
            let mut said: BTreeSet<usize> = findings
                .iter()
                .filter(|finding| refuses(finding) && !OF_THE_UNIT.contains(&finding.rule))
                .map(|finding| line_of(finding, text))
                .filter(|line| *line <= stop)
                .collect();
            if unread && name.contains('/') {
                said.clear();
            }
            if said != *lines {
                wrong.push(format!(
                    "{name}: systemd 219 logs {lines:?}, the checker {said:?}\n{text}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the line at which systemd 219 stops reading, or the largest number if systemd reads the
/// whole file.
fn first_stop(findings: &[Finding], text: &str) -> usize {
    let stop = findings.iter().filter(|finding| {
        finding
            .diagnostic
            .label
            .starts_with("systemd stops reading this drop-in")
    });
    let stop = stop.chain(
        findings
            .iter()
            .filter(|finding| finding.rule == "unit/section-header"),
    );
    let stop = stop.chain(
        findings
            .iter()
            .filter(|finding| finding.rule == "unit/no-assignment"),
    );
    stop.map(|finding| line_of(finding, text))
        .min()
        .unwrap_or(usize::MAX)
}

proptest! {
    /// Checks that no value of any directive causes a panic, and that every position is within the
    /// file.
    #[test]
    fn no_value_makes_a_checker_panic(
        which in any::<prop::sample::Index>(),
        value in r#"([-+~!|@%"'\\;:,./=0-9a-zIhuéKMGs \t\u{a0}\u{fdd0}\u{1}]|inf|%I|\\x|\[::|0x|99999999999){0,24}"#,
    ) {
        let all: Vec<(&str, &str)> =
            tables::UNITS.iter().flat_map(|(section, keys)| keys.keys().map(move |key| (*section, *key))).collect();
        let (section, key) = *which.get(&all);
        let text = format!("[{section}]\n{key}={value}\n{key}=\n");
        for id in [unit_with(section), "fz@.service", "fz@-a\\x2db.socket"] {
            let path = format!("/etc/systemd/system/{id}");
            let file = File { shown: path.clone(), path, text: &text, mode: None };
            for finding in check_files(&[file], true).remove(0) {
                let span = finding.diagnostic.span.clone();
                prop_assert!(span.start <= span.end && span.end <= text.len(), "{finding:?} in {text:?}");
                prop_assert!(rules::index(finding.rule).is_some());
                prop_assert!(!finding.diagnostic.render("x", &text, false).is_empty());
            }
        }
    }
}
