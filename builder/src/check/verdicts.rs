//! Compares the verdicts of the checker on several thousand inputs with the verdicts of the real
//! programs. Each table names the program that gave its verdicts. The comparison ignores findings
//! of the kinds advice and effect, because these findings concern inputs that the program accepts.

use std::sync::LazyLock;

use proptest::prelude::*;
use recipes::Severity;

use super::checker::check;
use super::file::File;
use super::rules::{self, RuleKind};

/// An input, its path on the node, and the program's verdict.
struct Judged {
    path: String,
    text: String,
    verdict: &'static str,
}

/// Resolves the escapes in a cell of a table, such as those for line ends.
fn unescape(cell: &str) -> String {
    let mut text = String::new();
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                other => other.unwrap_or_default(),
            },
            c => c,
        });
    }
    text
}

fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table
        .split('\n')
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
}

/// Parses a table of verdicts and inputs that share one path.
fn of_one(table: &'static str, path: &str) -> Vec<Judged> {
    let recorded = |line: &'static str| {
        let (verdict, text) = line.split_once('\t').unwrap();
        Judged {
            path: path.to_owned(),
            text: unescape(text),
            verdict,
        }
    };
    lines(table).map(recorded).collect()
}

fn kickstarts() -> Vec<Judged> {
    of_one(include_str!("verdicts/kickstart.tsv"), "a.ks")
}

fn chrony() -> Vec<Judged> {
    of_one(include_str!("verdicts/chrony.tsv"), "/etc/chrony.conf")
}

fn firewalld() -> Vec<Judged> {
    let recorded = |line: &'static str| {
        let mut cells = line.splitn(3, '\t');
        let verdict = cells.next().unwrap();
        let path = format!("/etc/firewalld/{}", cells.next().unwrap());
        Judged {
            path,
            text: unescape(cells.next().unwrap()),
            verdict,
        }
    };
    lines(include_str!("verdicts/firewalld.tsv"))
        .map(recorded)
        .collect()
}

/// Returns the inputs on which the checker and the program disagree.
fn disagreements(all: &[Judged]) -> Vec<String> {
    let mut out = Vec::new();
    for recorded in all {
        let files = [File {
            shown: String::new(),
            path: recorded.path.clone(),
            text: &recorded.text,
            mode: None,
        }];
        let findings = check(&files, false).remove(0);
        let said = findings.iter().any(|finding| {
            let part = recorded.verdict == "ignored-in-part";
            rules::kind(finding.rule) == RuleKind::Parser
                && (part || finding.diagnostic.severity == Severity::Error)
        });
        if said != (recorded.verdict != "accepted") {
            let found: Vec<_> = findings
                .iter()
                .map(|finding| (finding.rule, &finding.diagnostic.message))
                .collect();
            out.push(format!(
                "{}: the program {} {:?}; the checker found {found:?}",
                recorded.path, recorded.verdict, recorded.text
            ));
        }
    }
    out
}

/// Asserts that the checker agrees with the program on every input. Also asserts that there are at
/// least `least` inputs, that more than a tenth of them have the verdict `accepted`, and that more
/// than a tenth have another verdict.
fn agrees(all: &[Judged], least: usize) {
    assert!(all.len() >= least, "only {} texts", all.len());
    let taken = all
        .iter()
        .filter(|recorded| recorded.verdict == "accepted")
        .count();
    assert!(
        taken * 10 > all.len() && (all.len() - taken) * 10 > all.len(),
        "{taken} of {}",
        all.len()
    );
    let wrong = disagreements(all);
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
}

#[test]
fn kickstarts_are_checked_as_pykickstart_checks_them() {
    agrees(&kickstarts(), 1000);
}

#[test]
fn chrony_conf_is_checked_as_chronyd_checks_it() {
    agrees(&chrony(), 500);
}

#[test]
fn firewalld_files_are_checked_as_firewalld_checks_them() {
    agrees(&firewalld(), 300);
}

proptest! {
    /// Joins the start of one input, a short text and the end of another input.
    #[test]
    fn no_mixture_of_texts_with_verdicts_makes_a_checker_panic(
        which in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        piece in prop::sample::select(&["", "\\", "\r", "\n", "\"", "'", "%", "<", "&", "\u{0}", "é", "\u{b}", "--", "=", "#", "/", ":"][..]),
    ) {
        static ALL: LazyLock<Vec<Judged>> = LazyLock::new(|| [kickstarts(), chrony(), firewalld()].into_iter().flatten().collect());
        let (one, two) = (which.get(&ALL), other.get(&ALL));
        let chars: Vec<char> = one.text.chars().collect();
        let at = at.index(chars.len() + 1);
        let tail: Vec<char> = two.text.chars().collect();
        let cut = cut.index(tail.len() + 1);
        let text: String = chars[..at].iter().copied().chain(piece.chars()).chain(tail[cut..].iter().copied()).collect();
        super::tests::check_robustly(&one.path, &text);
    }
}
