//! Kickstarts, as anaconda 21.48.22.159 and its pykickstart (rhel7-branch) take them.
//!
//! `split` and `options` read a line, `table` has the commands and sections, `command` and `own` say what pykickstart
//! refuses, `special`, `disk`, `script`, `whole` and `together` what anaconda then does with what pykickstart takes.

mod command;
mod disk;
mod line;
mod options;
mod own;
mod packages;
mod realm;
mod script;
mod section;
mod special;
mod split;
mod table;
mod together;
mod whole;

use self::line::{Earlier, Line};
use self::section::Section;
use self::split::{Broken, Word, split};
use super::finding::Finding;
use super::text::Part;
pub(super) use script::bash_says;
pub(super) use together::{installs, together};

/// What a kickstart says, as far as it can be read.
#[derive(Debug, Default)]
struct Kickstart<'a> {
    commands: Vec<Line<'a>>,
    sections: Vec<Section<'a>>,
    /// Whether parts of it are elsewhere.
    includes: bool,
}

/// What is wrong with a kickstart.
pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let kickstart = read(text, &mut out);
    for line in &kickstart.commands {
        special::check(line, &mut out);
    }
    whole::check(&kickstart, &mut out);
    for section in &kickstart.sections {
        match section.name() {
            "%packages" => packages::check(section, &mut out),
            "%anaconda" => section::anaconda(section, &mut out),
            "%addon" => section::addon(section, &mut out),
            _ => script::check(section, &mut out),
        }
    }
    for (at, found) in text.match_indices("PRIVATE KEY-----") {
        out.push(
            Finding::error("kickstart/secret", at..at + found.len(), "a private key in a kickstart")
                .does("the installer keeps the kickstart in /root and its output in logs; any client can fetch it")
                .instead("hand it to the node with its document"),
        );
    }
    out
}

/// The words of a text as Python's shlex has them. `None`: a quote in it is not closed.
pub(super) fn shell_words(text: &str) -> Option<Vec<String>> {
    let words = split(Part::whole(text), false).ok()?.0;
    Some(words.into_iter().map(|word| word.value).collect())
}

/// What bash says of the scripts.
pub(super) fn bash(text: &str) -> Vec<Finding> {
    let kickstart = read(text, &mut Vec::new());
    kickstart.sections.iter().filter(|section| section.is_script()).filter_map(script::bash).collect()
}

/// The lines of a text, each with its end, as Python's splitlines has them: a lone carriage return ends one, too.
fn lines(text: Part<'_>) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let bytes = rest.text.as_bytes();
        let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let end = end + if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
        let line = rest.cut(0..end);
        rest = rest.from(end);
        Some(line)
    })
    .chain(std::iter::once(()).filter_map(move |()| {
        let start = text.text.rfind(['\n', '\r']).map_or(0, |at| at + 1);
        Some(text.from(start)).filter(|line| !line.text.is_empty())
    }))
}

/// What C's isspace takes for white space.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

/// Whether pykickstart passes a line over.
fn is_blank_or_comment(line: Part<'_>) -> bool {
    let rest = line.text.trim_start_matches(is_space);
    rest.is_empty() || rest.starts_with('#')
}

fn read<'a>(text: &'a str, out: &mut Vec<Finding>) -> Kickstart<'a> {
    let mut kickstart = Kickstart::default();
    let mut earlier = Earlier::default();
    let whole = Part::whole(text);
    let mut lines = lines(whole);
    while let Some(line) = lines.next() {
        if is_blank_or_comment(line) {
            continue;
        }
        let Some(words) = words_of(line, out) else { continue };
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
                Finding::error("kickstart/command", first.span.clone(), "an empty word where a command should be")
                    .does("anaconda crashes: IndexError")
                    .instead("take the line away"),
            ),
            name if name.starts_with('%') => {
                let (section, includes) = section::read(whole, line, &words, &mut lines, out);
                kickstart.includes |= includes;
                kickstart.sections.extend(section);
            }
            _ => kickstart.commands.extend(command::read(&words, line, &mut earlier, out)),
        }
    }
    kickstart
}

/// The words of a line, with what there is to say of how it is split.
fn words_of(line: Part<'_>, out: &mut Vec<Finding>) -> Option<Vec<Word>> {
    match split(line, true) {
        Ok((words, cut)) => {
            if let Some(at) = cut {
                out.push(
                    Finding::warning("kickstart/hash", at..at + 1, "a # within a word begins a comment")
                        .does("the rest of the line is ignored")
                        .instead("put the word into single quotes, or a space before the #"),
                );
            }
            if let Some(word) = words.iter().find(|word| word.value.contains(['\n', '\r'])) {
                let backslash = line.text.trim_end_matches(['\n', '\r']).len().saturating_sub(1) + line.span().start;
                let at = backslash.max(word.span.start);
                out.push(
                    Finding::warning("kickstart/continuation", at..at + 1, "a kickstart has no continued lines")
                        .does("the end of the line becomes a word, and the next line is a command")
                        .instead("write the command on one line"),
                );
            }
            Some(words)
        }
        Err(broken) => {
            out.push(cannot_split(&broken));
            None
        }
    }
}

/// A line that shlex cannot split: anaconda does not catch its ValueError.
fn cannot_split(broken: &Broken) -> Finding {
    match *broken {
        Broken::Quote(at) => Finding::error("kickstart/quote", at..at + 1, "the quote is not closed")
            .does("anaconda crashes: no closing quotation")
            .instead("close it on the same line; a ' within single quotes is '\\''"),
        Broken::Escape(at) => Finding::error("kickstart/quote", at..at + 1, "a backslash at the end of the file")
            .does("anaconda crashes: no escaped character")
            .instead("take it away"),
    }
}

fn include(words: &[Word]) -> Option<Finding> {
    if words.get(1).is_some_and(|word| !word.value.is_empty()) {
        return None;
    }
    let finding = Finding::error("kickstart/include", words[0].span.clone(), "which file is to be included?");
    Some(finding.does("anaconda stops").instead("write %include /path/to/file"))
}

/// `%ksappend` is the initramfs's: it takes what stands behind the first blank, and a failure there leaves anaconda without
/// any kickstart (dracut/parse-kickstart; pykickstart, `_preprocessStateMachine`).
fn append(first: &Word, line: Part<'_>) -> Option<Finding> {
    if line.text.trim_matches(is_space).split(' ').nth(1).is_some_and(|address| !address.is_empty()) {
        return None;
    }
    let finding = Finding::error("kickstart/include", first.span.clone(), "which file is to be appended?");
    Some(finding.does("the initramfs drops the whole kickstart").instead("write %ksappend http://HOST/FILE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_pythons() {
        let all = |text: &'static str| lines(Part::whole(text)).map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(all("a\nb\r\nc\rd"), ["a\n", "b\r\n", "c\r", "d"]);
        assert_eq!(all("a\n\n"), ["a\n", "\n"]);
        assert_eq!(all("\r"), ["\r"]);
        assert!(all("").is_empty());
        assert_eq!(lines(Part::whole("a\nb")).last().unwrap().span(), 2..3);
    }
}
