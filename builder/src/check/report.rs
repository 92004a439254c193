//! Formats the findings as text or JSON.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::io::IsTerminal as _;

use anyhow::Result;
use recipes::Diagnostic;
use serde::Serialize;

use super::finding::Finding;
use super::rules::{self, RuleKind};
use crate::console::{self, counted};
use crate::exit::{Exit, exit_error};

/// The maximum number of findings to show for one file. A longer list would not help the user.
const MAX_SHOWN: usize = 100;

/// A file and its findings.
#[derive(Debug)]
pub(super) struct CheckedFile {
    /// The file's name, as findings show it.
    pub(super) shown: String,
    pub(super) text: String,
    pub(super) findings: Vec<Finding>,
}

impl CheckedFile {
    /// Returns the findings to show, in the order of their positions. If there are too many
    /// findings, errors take precedence over warnings, and the last finding states the number of
    /// findings that are not shown.
    fn shown(&self) -> Vec<Cow<'_, Finding>> {
        let mut shown: Vec<&Finding> = self.findings.iter().collect();
        let mut rest = None;
        if shown.len() > MAX_SHOWN {
            shown.sort_by_key(|finding| Reverse(finding.diagnostic.severity));
            rest = not_shown(&shown.split_off(MAX_SHOWN));
            shown.sort_by_key(|finding| finding.diagnostic.span.start);
        }
        let shown = shown.into_iter().map(Cow::Borrowed);
        shown.chain(rest.map(Cow::Owned)).collect()
    }
}

/// Returns a finding that states the number of findings that are not shown. The finding has the
/// rule, the severity and the position of the first finding that is not shown.
fn not_shown(rest: &[&Finding]) -> Option<Finding> {
    let mut finding = (*rest.first()?).clone();
    finding.diagnostic.message = format!("the file has {}", counted(rest.len(), "more finding"));
    finding.diagnostic.label.clear();
    finding.diagnostic.help = Some("correct the findings above first".to_owned());
    Some(finding)
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
    /// Returns the findings to show, each with its file.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&CheckedFile, Cow<'_, Finding>)> {
        self.0
            .iter()
            .flat_map(|file| file.shown().into_iter().map(move |finding| (file, finding)))
    }

    /// Returns every finding with its file.
    fn all(&self) -> impl Iterator<Item = (&CheckedFile, &Finding)> {
        self.0
            .iter()
            .flat_map(|file| file.findings.iter().map(move |finding| (file, finding)))
    }

    /// Prints the findings on standard error, in the format of a compiler's messages.
    pub(super) fn show(&self) {
        let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        for (file, finding) in self.shown() {
            console::note(format_args!(
                "{}\n",
                finding.diagnostic.render(&file.shown, &file.text, color)
            ));
        }
    }

    /// Formats the findings as a JSON list.
    pub(super) fn json(&self) -> Result<String> {
        let shown: Vec<_> = self.shown().collect();
        let list: Vec<_> = shown
            .iter()
            .map(|(file, finding)| {
                let (line, column) = finding.diagnostic.position(&file.text);
                LocatedFinding {
                    file: &file.shown,
                    line,
                    column,
                    rule: finding.rule,
                    kind: rules::kind(finding.rule),
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
        let scope = if files == 1 {
            first.shown.clone()
        } else {
            format!("{files} files")
        };
        Err(exit_error(
            Exit::Recipe,
            format!("{} in {scope}; {outcome}", counted(stopping.len(), "error")),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_finding() {
        let file = CheckedFile {
            shown: "a".to_owned(),
            text: "a\n".to_owned(),
            findings: vec![Finding::warning("place/mode", 0..1, "w")],
        };
        let json = Report(vec![file]).json().unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(documented("json.md", "builder check"), keys(&list[0]));
    }

    #[test]
    fn a_long_list_is_cut_after_the_errors_and_ends_with_a_count() {
        let text = "a\n".repeat(3 * MAX_SHOWN);
        let span = |nth: usize| 2 * nth..2 * nth + 1;
        let warning = |nth| Finding::warning("place/mode", span(nth), "w");
        let error = |nth| Finding::error("place/masked", span(nth), "e");
        let shown = |findings: Vec<Finding>| {
            let file = CheckedFile {
                shown: "a".to_owned(),
                text: text.clone(),
                findings,
            };
            let json = Report(vec![file]).json().unwrap();
            serde_json::from_str::<Vec<serde_json::Value>>(&json).unwrap()
        };
        assert_eq!(
            shown((0..MAX_SHOWN).map(warning).collect()).len(),
            MAX_SHOWN
        );
        let mixed = (0..2 * MAX_SHOWN).map(warning);
        let cut = shown(mixed.chain([error(2 * MAX_SHOWN)]).collect());
        assert_eq!(cut.len(), MAX_SHOWN + 1);
        assert_eq!(cut[0]["line"], 1);
        assert_eq!(cut[MAX_SHOWN - 1]["severity"], "error");
        assert_eq!(cut[MAX_SHOWN]["message"], "the file has 101 more findings");
        assert_eq!(cut[MAX_SHOWN]["line"], MAX_SHOWN);
        assert_eq!(cut[MAX_SHOWN]["severity"], "warning");
    }
}
