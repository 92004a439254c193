//! What was found, for people and for programs.

use std::io::IsTerminal as _;

use anyhow::Result;
use recipes::Diagnostic;
use serde::Serialize;

use super::finding::Finding;
use super::rules::{self, RuleKind};
use crate::exit::{Exit, stop};
use crate::say::{self, counted};

/// A file and what is wrong with it.
#[derive(Debug)]
pub(super) struct Told {
    /// Its name.
    pub(super) shown: String,
    pub(super) text: String,
    pub(super) findings: Vec<Finding>,
}

/// All that was found.
#[derive(Debug)]
pub(crate) struct Report(pub(super) Vec<Told>);

/// A finding with its place, for programs.
#[derive(Debug, Serialize)]
struct Placed<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    rule: &'static str,
    kind: RuleKind,
    #[serde(flatten)]
    finding: &'a Diagnostic,
}

impl Report {
    /// Every finding with its file.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Told, &Finding)> {
        self.0.iter().flat_map(|told| told.findings.iter().map(move |finding| (told, finding)))
    }

    /// To standard error, as a compiler does.
    pub(super) fn show(&self) {
        let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        for (told, finding) in self.all() {
            say::note(format_args!("{}\n", finding.diagnostic.render(&told.shown, &told.text, color)));
        }
    }

    /// As JSON: a list of findings.
    pub(super) fn json(&self) -> Result<String> {
        let placed =
            |(told, finding): (&'_ Told, &'_ Finding)| -> (usize, usize) { finding.diagnostic.position(&told.text) };
        let list: Vec<_> = self
            .all()
            .map(|(told, finding)| {
                let (line, column) = placed((told, finding));
                let kind = rules::kind(finding.rule);
                Placed { file: &told.shown, line, column, rule: finding.rule, kind, finding: &finding.diagnostic }
            })
            .collect();
        Ok(serde_json::to_string_pretty(&list)? + "\n")
    }

    /// An error where something was found that stops a build.
    pub(super) fn verdict(&self, strict: bool, outcome: &str) -> Result<()> {
        let stopping: Vec<_> = self.all().filter(|(_, finding)| finding.stops(strict)).collect();
        let Some((first, _)) = stopping.first() else { return Ok(()) };
        let files = self.0.iter().filter(|told| told.findings.iter().any(|finding| finding.stops(strict))).count();
        let place = if files == 1 { first.shown.clone() } else { format!("{files} files") };
        Err(stop(Exit::Recipe, format!("{} in {place}; {outcome}", counted(stopping.len(), "error"))))
    }
}
