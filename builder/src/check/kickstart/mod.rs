//! Kickstarts, as anaconda 21.48.22.159 and its pykickstart (rhel7-branch) take them.

mod command;
mod disk;
mod script;
mod special;
mod split;
mod together;
mod whole;

use self::split::{Broken, Word, split};
use super::finding::Finding;
use super::text::Part;
pub(super) use script::bash_says;
pub(super) use together::{installs, together};

/// The sections of 7; `true` for those that are scripts.
const SECTIONS: [(&str, bool); 8] = [
    ("%packages", false),
    ("%pre", true),
    ("%pre-install", true),
    ("%post", true),
    ("%traceback", true),
    ("%onerror", true),
    ("%addon", false),
    ("%anaconda", false),
];

/// What a kickstart says, as far as it can be read.
#[derive(Debug, Default)]
struct Kickstart<'a> {
    /// Its commands, each as its words.
    commands: Vec<Vec<Word>>,
    sections: Vec<Section<'a>>,
    /// Whether parts of it are elsewhere.
    includes: bool,
}

/// A section: the words of its header, and its lines.
#[derive(Debug)]
struct Section<'a> {
    header: Vec<Word>,
    body: Part<'a>,
    is_script: bool,
}

impl Section<'_> {
    fn name(&self) -> &str {
        &self.header[0].value
    }

    /// The value of `--name=VALUE`.
    fn option(&self, name: &str) -> Option<&str> {
        self.header.iter().find_map(|word| word.value.strip_prefix(name)?.strip_prefix('='))
    }

    fn has(&self, flag: &str) -> bool {
        self.header.iter().any(|word| word.value == flag)
    }
}

/// What is wrong with a kickstart.
pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let kickstart = read(text, &mut out);
    for words in &kickstart.commands {
        command::check(words, &mut out);
    }
    whole::check(&kickstart, &mut out);
    for section in &kickstart.sections {
        if section.is_script {
            script::check(section, &mut out);
        } else if section.name() == "%packages" {
            packages(section, &mut out);
        }
    }
    for (at, found) in text.match_indices("PRIVATE KEY-----") {
        out.push(
            Finding::error("kickstart/secret", at..at + found.len(), "a private key in a kickstart")
                .does(
                    "the installer keeps the kickstart in /root and its output in logs; its server shows it to anybody",
                )
                .instead("hand it to the node with its document"),
        );
    }
    out
}

/// What bash says of the scripts.
pub(super) fn bash(text: &str) -> Vec<Finding> {
    let kickstart = read(text, &mut Vec::new());
    kickstart.sections.iter().filter(|section| section.is_script).filter_map(script::bash).collect()
}

fn read<'a>(text: &'a str, out: &mut Vec<Finding>) -> Kickstart<'a> {
    let mut kickstart = Kickstart::default();
    let mut lines = Part::whole(text).lines();
    while let Some(line) = lines.next() {
        if line.text.trim().is_empty() || line.text.trim_start().starts_with('#') {
            continue;
        }
        let words = match split(line) {
            Ok((words, cut)) => {
                if let Some(at) = cut {
                    out.push(
                        Finding::warning("kickstart/hash", at..at + 1, "a # within a word begins a comment")
                            .does("the rest of the line is thrown away")
                            .instead("put the word into single quotes, or a space before the #"),
                    );
                }
                words
            }
            Err(broken) => {
                out.push(cannot_split(&broken));
                continue;
            }
        };
        let Some(first) = words.first() else { continue };
        if first.value == "%include" || first.value == "%ksappend" {
            kickstart.includes = true;
            if words.len() == 1 {
                out.push(
                    Finding::error("kickstart/include", first.span.clone(), "which file is to be included?")
                        .does("anaconda stops")
                        .instead("write %include /path/to/file"),
                );
            }
        } else if first.value.starts_with('%') {
            let known = SECTIONS.iter().find(|(name, _)| *name == first.value);
            if known.is_none() {
                out.push(unknown_section(first));
            }
            if first.value == "%end" {
                continue;
            }
            let (name, is_script) = known.copied().unwrap_or(("", true));
            let body = section_body(text, line, &mut lines, name, out);
            if known.is_some() {
                kickstart.sections.push(Section { header: words, body, is_script });
            }
        } else {
            kickstart.commands.push(words);
        }
    }
    kickstart
}

fn cannot_split(broken: &Broken) -> Finding {
    match *broken {
        Broken::Quote(at) => Finding::error("kickstart/quote", at..at + 1, "the quote is not closed")
            .does("anaconda stops: no closing quotation")
            .instead("close it on the same line; a ' within single quotes is '\\''"),
        Broken::Escape(at) => {
            Finding::error("kickstart/continuation", at..at + 1, "a kickstart has no continued lines")
                .does("anaconda stops: no escaped character")
                .instead("write the command on one line")
        }
    }
}

fn unknown_section(first: &Word) -> Finding {
    let finding =
        Finding::error("kickstart/section", first.span.clone(), format!("there is no section {}", first.value));
    let finding = finding.does("anaconda stops: unknown kickstart section");
    match first.value.as_str() {
        "%end" => finding.instead("no section is open here; take it away"),
        name => match recipes::diagnostic::nearest(name, SECTIONS.map(|(name, _)| name)) {
            Some(near) => finding.instead(format!("did you mean {near}?")),
            None => finding
                .instead("7 has %packages, %pre, %pre-install, %post, %traceback, %onerror, %addon and %anaconda"),
        },
    }
}

/// The lines up to `%end`, which must stand at the beginning of its line.
fn section_body<'a>(
    text: &'a str,
    header: Part<'a>,
    lines: &mut impl Iterator<Item = Part<'a>>,
    name: &str,
    out: &mut Vec<Finding>,
) -> Part<'a> {
    let start = (header.span().end + 1).min(text.len());
    let mut indented = None;
    for line in lines {
        let first = line.words().next();
        let Some(word) = first.filter(|word| word.text.starts_with('%')) else { continue };
        let at_start = line.text.starts_with('%');
        if word.text == "%end" && at_start {
            return Part::whole(text).cut(start.min(line.span().start)..line.span().start);
        }
        if word.text == "%end" {
            indented.get_or_insert(word);
        } else if at_start && SECTIONS.iter().any(|(name, _)| *name == word.text) {
            out.push(
                Finding::error("kickstart/not-closed", word, format!("{} begins before {name} has ended", word.text))
                    .does("anaconda stops: the section does not end with %end")
                    .instead(
                        "write %end on a line of its own before it; within a script, indent the line or break the word",
                    ),
            );
        } else if at_start
            && word.text == "%include"
            && SECTIONS.iter().any(|(section, script)| *section == name && *script)
        {
            out.push(
                Finding::warning("kickstart/include-in-script", word, "%include at the beginning of a script's line")
                    .does("anaconda includes the file as a part of the script")
                    .instead("indent the line if it belongs to the script"),
            );
        }
    }
    let finding = match indented {
        Some(word) => {
            Finding::error("kickstart/indented-end", word, "%end does not stand at the beginning of its line")
                .does("it is a line of the section, which goes on to the end of the file: anaconda stops")
                .instead("take the spaces before it away")
        }
        None => Finding::error("kickstart/not-closed", header, "the section has no %end")
            .does("anaconda stops: the section does not end with %end")
            .instead("write %end on a line of its own"),
    };
    out.push(finding);
    Part::whole(text).from(start)
}

fn packages(section: &Section<'_>, out: &mut Vec<Finding>) {
    const OPTIONS: [&str; 9] = [
        "--excludedocs",
        "--ignoremissing",
        "--nobase",
        "--nocore",
        "--ignoredeps",
        "--instLangs",
        "--multilib",
        "--default",
        "--resolvedeps",
    ];
    for word in section.header.iter().skip(1) {
        let name = word.value.split('=').next().unwrap_or_default();
        if !OPTIONS.contains(&name) {
            out.push(
                Finding::error("kickstart/option", word.span.clone(), format!("%packages has no option {name}"))
                    .does("anaconda stops")
                    .instead("7 has --excludedocs, --ignoremissing, --instLangs=, --multilib, --nocore"),
            );
        } else if name == "--nobase" {
            out.push(
                Finding::warning("kickstart/deprecated", word.span.clone(), "--nobase is deprecated on 7")
                    .does("ignored: @base is not installed unless named")
                    .instead("take it away"),
            );
        } else if name == "--ignoremissing" {
            out.push(
                Finding::warning(
                    "kickstart/ignore-missing",
                    word.span.clone(),
                    "--ignoremissing hides a package that is not there",
                )
                .does("the installation goes on without it")
                .instead("take it away"),
            );
        }
    }
    for line in section.body.lines().map(Part::trim) {
        if line.text.starts_with("@module") || (line.text.starts_with('@') && line.text.contains(':')) {
            out.push(
                Finding::error("kickstart/module", line, "7 has no modules")
                    .does("taken for a group of that name, which does not exist")
                    .instead("name the packages"),
            );
        }
        if line.text.ends_with('\\') {
            out.push(
                Finding::error("kickstart/continuation", line, "a kickstart has no continued lines")
                    .does("taken for a part of the name")
                    .instead("write each package on a line of its own"),
            );
        }
    }
}
