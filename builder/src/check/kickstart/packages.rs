//! Checks the lines of `%packages` (pykickstart rhel7-branch, parser.py, Packages.add and
//! `_processGroup`).

use super::line::{EarlierLines, Line};
use super::lines::{is_blank_or_comment, is_space, lines};
use super::section::Section;
use super::split::Token;
use super::{command, options, table};
use crate::check::finding::Finding;
use crate::check::text::TextSpan;

/// Checks the lines of a `%packages` section, and the options in its header that pykickstart
/// accepts but that are deprecated or harmful.
pub(super) fn check(section: &Section<'_>, out: &mut Vec<Finding>) {
    if let Some(given) = section.header.find("--nobase") {
        out.push(
            Finding::warning(
                "kickstart/deprecated",
                given.span.clone(),
                "--nobase is deprecated on CentOS 7",
            )
            .effect("the option has no effect, because anaconda does not install @base by default")
            .fix("remove it"),
        );
    }
    if let Some(given) = section.header.find("--ignoremissing") {
        let message = "--ignoremissing hides a missing package";
        out.push(
            Finding::warning("kickstart/ignore-missing", given.span.clone(), message)
                .effect("the installation continues without the package")
                .fix("remove it"),
        );
    }
    for line in entries(section) {
        entry(line, out);
    }
}

/// Returns the entries of the section, without comments, `%include` lines and surrounding white
/// space.
pub(super) fn entries<'a>(section: &Section<'a>) -> impl Iterator<Item = TextSpan<'a>> {
    lines(section.body)
        .filter(|line| !is_blank_or_comment(*line))
        .map(|line| line.split('#').next().unwrap_or(line).trim())
        .filter(|line| !line.text.starts_with("%include"))
}

fn entry(line: TextSpan<'_>, out: &mut Vec<Finding>) {
    if line.text == "-" {
        let finding = Finding::error("kickstart/words", line, "no package follows the `-`");
        out.push(
            finding
                .effect("anaconda crashes: IndexError")
                .fix("write the name of the package after the `-`"),
        );
    }
    if line.text.starts_with("@module") || (line.text.starts_with('@') && line.text.contains(':')) {
        out.push(
            Finding::error("kickstart/module", line, "CentOS 7 has no modules")
                .effect("pykickstart reads the line as the name of a group, which does not exist")
                .fix("list the packages"),
        );
    }
    if line.text.ends_with('\\') {
        out.push(
            Finding::error(
                "kickstart/continuation",
                line,
                "a line of a kickstart cannot be continued",
            )
            .effect("pykickstart reads the backslash as part of the name")
            .fix("write each package on its own line"),
        );
    }
    let Some(group) = line.strip("@").filter(|group| !group.text.starts_with('^')) else {
        return;
    };
    let Some(known) = table::command("%packages:@") else {
        return;
    };
    let start = group.span().start;
    let words: Vec<Token> = group
        .text
        .split(is_space)
        .filter(|word| !word.is_empty())
        .map(|word| {
            let at = start + (word.as_ptr() as usize - group.text.as_ptr() as usize);
            Token {
                value: word.to_owned(),
                span: at..at + word.len(),
            }
        })
        .collect();
    let read = options::read(known, "a group", &words, out);
    let name = Token {
        value: "a group".into(),
        span: line.span(),
    };
    let header = Line::new(
        name,
        known,
        line,
        options::Arguments {
            words: Vec::new(),
            given: read.given,
        },
    );
    command::check(&header, &EarlierLines::default(), out);
}
