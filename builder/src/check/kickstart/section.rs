//! Reads sections, and checks their headers and their ends. Sources: `_readSection` in parser.py
//! and sections.py of pykickstart (rhel7-branch), and `AnacondaSection` in kickstart.py and
//! addons.py of anaconda.

use recipes::diagnostic::nearest;

use super::line::{EarlierLines, Line};
use super::lines::{cannot_split, include, is_blank_or_comment, is_space, lines, words_of};
use super::split::{Token, split};
use super::table::{self, Words};
use super::{command, options};
use crate::check::finding::Finding;
use crate::check::text::TextSpan;

/// The sections in CentOS 7.
pub(super) const SECTIONS: [&str; 8] = [
    "%packages",
    "%pre",
    "%pre-install",
    "%post",
    "%traceback",
    "%onerror",
    "%addon",
    "%anaconda",
];

/// A section: its header, and the lines up to its %end.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) header: Line<'a>,
    pub(super) body: TextSpan<'a>,
}

impl Section<'_> {
    pub(super) fn name(&self) -> &str {
        &self.header.name.value
    }

    pub(super) fn is_script(&self) -> bool {
        is_script(self.name())
    }
}

fn is_script(name: &str) -> bool {
    !["%packages", "%addon", "%anaconda"].contains(&name)
}

/// Reads the section whose header is `words`, up to the section's end. Returns the section (`None`
/// if CentOS 7 does not have a section of this name), and whether the section includes other files.
pub(super) fn read<'a>(
    whole: TextSpan<'a>,
    line: TextSpan<'a>,
    words: &[Token],
    lines: &mut impl Iterator<Item = TextSpan<'a>>,
    out: &mut Vec<Finding>,
) -> (Option<Section<'a>>, bool) {
    let first = &words[0];
    let known = SECTIONS
        .contains(&first.value.as_str())
        .then(|| table::command(&first.value))
        .flatten();
    let Some(command) = known else {
        out.push(unknown(first));
        if first.value != "%end" {
            body(whole, line, lines, "", out);
        }
        return (None, false);
    };
    let read = if command.words == Words::Raw {
        options::Arguments {
            words: words[1..].to_vec(),
            given: Vec::new(),
        }
    } else {
        options::read(command, &first.value, &words[1..], out)
    };
    let header = Line::new(first.clone(), command, line, read);
    command::check(&header, &EarlierLines::default(), out);
    let (body, includes) = body(whole, line, lines, &first.value, out);
    (Some(Section { header, body }), includes)
}

fn unknown(first: &Token) -> Finding {
    let message = format!(
        "kickstart in CentOS 7 does not have the section {}",
        first.value.escape_debug()
    );
    let finding = Finding::error("kickstart/section", first.span.clone(), message);
    let finding = finding.effect("anaconda stops: unknown kickstart section");
    match first.value.as_str() {
        "%end" => finding.fix("no section is open here; remove the %end"),
        name => match nearest(name, SECTIONS) {
            Some(near) => finding.fix(format!("did you mean {near}?")),
            None => finding.fix(format!("CentOS 7 has {}", SECTIONS.join(", "))),
        },
    }
}

/// Returns the finding for a section header that appears before the end of the section `name`. The
/// name is empty if CentOS 7 does not have the section.
fn not_closed(next: &Token, name: &str) -> Finding {
    let name = if name.is_empty() {
        "this unknown section"
    } else {
        name
    };
    let next_name = &next.value;
    Finding::error(
        "kickstart/not-closed",
        next.span.clone(),
        format!("{next_name} begins before {name} has ended"),
    )
    .effect("anaconda stops: the section does not end with %end")
    .fix("write %end on its own line before this header; if the word belongs to the script, break the word up, as in '%'post")
}

/// Returns the lines up to `%end`, and whether one of the lines includes another file. `%end` can
/// be indented.
fn body<'a>(
    whole: TextSpan<'a>,
    header: TextSpan<'a>,
    lines: &mut impl Iterator<Item = TextSpan<'a>>,
    name: &str,
    out: &mut Vec<Finding>,
) -> (TextSpan<'a>, bool) {
    let start = header.span().end;
    let mut includes = false;
    for line in lines {
        let first = line
            .text
            .trim_start_matches(is_space)
            .split(is_space)
            .next()
            .unwrap_or_default();
        let ours = first == "%end" || first == "%include" || SECTIONS.contains(&first);
        if !ours || (!is_script(name) && is_blank_or_comment(line)) {
            continue;
        }
        // When pykickstart splits a line of a section, a `#` does not begin a comment.
        let words = match split(line, false) {
            Ok((words, _)) => words,
            Err(broken) => {
                out.push(cannot_split(&broken));
                continue;
            }
        };
        match words[0].value.as_str() {
            "%end" => return (whole.slice(start..line.span().start), includes),
            "%include" => {
                includes = true;
                out.extend(include(&words));
                if is_script(name) && !name.is_empty() {
                    out.push(
                        Finding::warning(
                            "kickstart/include-in-script",
                            words[0].span.clone(),
                            "the script contains %include",
                        )
                        .effect("anaconda includes the file as a part of the script")
                        .fix("if the word belongs to the script, break the word up, as in '%'include"),
                    );
                }
            }
            other if SECTIONS.contains(&other) => out.push(not_closed(&words[0], name)),
            _ => {}
        }
    }
    out.push(
        Finding::error(
            "kickstart/not-closed",
            header.trim(),
            "the section has no %end",
        )
        .effect("anaconda stops: the section does not end with %end")
        .fix("write %end on its own line"),
    );
    (whole.from(start), includes)
}

/// Checks `%anaconda`, which has two commands of its own.
pub(super) fn anaconda(section: &Section<'_>, out: &mut Vec<Finding>) {
    for line in lines(section.body).filter(|line| !is_blank_or_comment(*line)) {
        let Some(words) = words_of(line, out) else {
            continue;
        };
        let Some((first, rest)) = words.split_first() else {
            continue;
        };
        if first.value == "%include" {
            continue;
        }
        let Some(command) = table::command(&format!("%anaconda:{}", first.value)) else {
            let message = format!("%anaconda has no command {}", first.value.escape_debug());
            out.push(
                Finding::error("kickstart/command", first.span.clone(), message)
                    .effect("anaconda stops: unknown command")
                    .fix("write installclass or pwpolicy"),
            );
            continue;
        };
        let read = options::read(command, &first.value, rest, out);
        command::check(
            &Line::new(first.clone(), command, line, read),
            &EarlierLines::default(),
            out,
        );
    }
}

/// Checks `%addon`, which needs the name of the addon.
pub(super) fn addon(section: &Section<'_>, out: &mut Vec<Finding>) {
    if section
        .header
        .words
        .first()
        .is_none_or(|word| word.value.is_empty())
    {
        let finding = Finding::error(
            "kickstart/words",
            section.header.span(),
            "%addon has no name",
        );
        out.push(
            finding
                .effect("anaconda crashes: IndexError")
                .fix("write %addon com_redhat_kdump --disable"),
        );
    }
}
