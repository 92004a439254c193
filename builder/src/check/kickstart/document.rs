//! A kickstart with its commands and sections.

use super::line::{EarlierLines, Line};
use super::lines::{include, is_blank_or_comment, is_space, lines, words_of};
use super::section::{self, Section};
use super::{command, split::Token};
use crate::check::finding::Finding;
use crate::check::text::TextSpan;

/// The parts of a kickstart that the checker can read.
#[derive(Debug, Default)]
pub(super) struct Kickstart<'a> {
    pub(super) commands: Vec<Line<'a>>,
    pub(super) sections: Vec<Section<'a>>,
    /// Whether the kickstart includes other files.
    pub(super) includes: bool,
}

pub(super) fn read<'a>(text: &'a str, out: &mut Vec<Finding>) -> Kickstart<'a> {
    let mut kickstart = Kickstart::default();
    let mut earlier = EarlierLines::default();
    let whole = TextSpan::whole(text);
    let mut lines = lines(whole);
    while let Some(line) = lines.next() {
        if is_blank_or_comment(line) {
            continue;
        }
        let Some(words) = words_of(line, out) else {
            continue;
        };
        let Some(first) = words.first() else { continue };
        match first.value.as_str() {
            "%include" => {
                kickstart.includes = true;
                out.extend(include(&words));
            }
            "%ksappend" => {
                kickstart.includes = true;
                out.extend(append(first, line));
            }
            "" => out.push(
                Finding::error(
                    "kickstart/command",
                    first.span.clone(),
                    "the line has an empty word instead of a command",
                )
                .effect("anaconda crashes: IndexError")
                .fix("remove the line"),
            ),
            name if name.starts_with('%') => {
                let (section, includes) = section::read(whole, line, &words, &mut lines, out);
                kickstart.includes |= includes;
                kickstart.sections.extend(section);
            }
            _ => kickstart
                .commands
                .extend(command::read(&words, line, &mut earlier, out)),
        }
    }
    kickstart
}

/// Checks `%ksappend`, which the initramfs handles. The initramfs reads the text after the first
/// blank as the address. If the initramfs cannot fetch the file, anaconda has no kickstart
/// (dracut/parse-kickstart; pykickstart, `_preprocessStateMachine`).
fn append(first: &Token, line: TextSpan<'_>) -> Option<Finding> {
    if line
        .text
        .trim_matches(is_space)
        .split(' ')
        .nth(1)
        .is_some_and(|address| !address.is_empty())
    {
        return None;
    }
    let finding = Finding::error(
        "kickstart/include",
        first.span.clone(),
        "%ksappend has no file",
    );
    Some(
        finding
            .effect("the initramfs drops the whole kickstart")
            .fix("write %ksappend http://HOST/FILE"),
    )
}
