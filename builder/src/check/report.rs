//! Formats the findings as text or JSON.

use std::io::IsTerminal as _;

use anyhow::Result;
use recipes::Diagnostic;
use serde::Serialize;

use super::finding::Finding;
use super::rules::{self, RuleKind};
use crate::console::{self, counted};
use crate::exit::{Exit, exit_error};

/// A file and its findings.
#[derive(Debug)]
pub(super) struct CheckedFile {
    /// The name that findings show.
    pub(super) shown: String,
    pub(super) text: String,
    pub(super) findings: Vec<Finding>,
}

/// The checked files, each with its findings.
#[derive(Debug)]
pub(crate) struct Report(pub(super) Vec<CheckedFile>);

/// A finding with its position, for JSON.
#[derive(Debug, Serialize)]
struct LocatedFinding<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    rule: &'static str,
    kind: RuleKind,
    #[serde(flatten)]
    finding: &'a Diagnostic,
}

impl Report {
    /// Returns every finding with its file.
    pub(super) fn all(&self) -> impl Iterator<Item = (&CheckedFile, &Finding)> {
        self.0
            .iter()
            .flat_map(|file| file.findings.iter().map(move |finding| (file, finding)))
    }

    /// Prints the findings on standard error, in a compiler's format.
    pub(super) fn show(&self) {
        let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        for (file, finding) in self.all() {
            console::note(format_args!(
                "{}\n",
                finding.diagnostic.render(&file.shown, &file.text, color)
            ));
        }
    }

    /// Formats the findings as a JSON list.
    pub(super) fn json(&self) -> Result<String> {
        let placed = |(file, finding): (&'_ CheckedFile, &'_ Finding)| -> (usize, usize) {
            finding.diagnostic.position(&file.text)
        };
        let list: Vec<_> = self
            .all()
            .map(|(file, finding)| {
                let (line, column) = placed((file, finding));
                let kind = rules::kind(finding.rule);
                LocatedFinding {
                    file: &file.shown,
                    line,
                    column,
                    rule: finding.rule,
                    kind,
                    finding: &finding.diagnostic,
                }
            })
            .collect();
        Ok(serde_json::to_string_pretty(&list)? + "\n")
    }

    /// Returns an error if any finding stops a build.
    pub(super) fn verdict(&self, strict: bool, outcome: &str) -> Result<()> {
        let stopping: Vec<_> = self
            .all()
            .filter(|(_, finding)| finding.stops_build(strict))
            .collect();
        let Some((first, _)) = stopping.first() else {
            return Ok(());
        };
        let files = self
            .0
            .iter()
            .filter(|file| {
                file.findings
                    .iter()
                    .any(|finding| finding.stops_build(strict))
            })
            .count();
        let place = if files == 1 {
            first.shown.clone()
        } else {
            format!("{files} files")
        };
        Err(exit_error(
            Exit::Recipe,
            format!("{} in {place}; {outcome}", counted(stopping.len(), "error")),
        ))
    }
}
