//! Checks command lines (`config_parse_exec` of systemd 219, src/core/load-fragment.c).

use super::assignment::Assignment;
use crate::check::finding::Finding;
use crate::check::systemd::specifier;
use crate::check::systemd::words::{Words, is_utf8, strip, unescape};
use crate::check::text::TextSpan;

/// Checks the commands of a line, and returns the number of commands that systemd 219 accepts.
/// systemd stops at the first wrong command.
pub(super) fn check(assignment: &Assignment<'_>, out: &mut Vec<Finding>) -> usize {
    let mut rest = assignment.value;
    let mut commands = 0;
    while !strip(rest).text.is_empty() {
        let mut words = Words::of(rest);
        match command(&mut words, assignment.key.text, out) {
            Ok(()) => commands += 1,
            Err(finding) => {
                out.push(finding.effect(if commands == 0 {
                    "systemd ignores the line"
                } else {
                    "systemd ignores the line from this command on"
                }));
                break;
            }
        }
        rest = words.rest;
    }
    shell_words(assignment.value, out);
    commands
}

/// Returns whether a word ends a command. A `;` ends the command even in quotes.
fn is_separator(word: TextSpan<'_>) -> bool {
    word.text == ";"
}

/// Checks the words of one command, up to a `;`.
fn command(words: &mut Words<'_>, key: &str, out: &mut Vec<Finding>) -> Result<(), Finding> {
    let Some(first) = words.next() else {
        return Err(quote(words.rest));
    };
    let (program, own_name) = prefixes(first);
    let mut arguments = Vec::new();
    loop {
        match words.next() {
            Some(word) if is_separator(word) => break,
            Some(word) => arguments.push(word),
            None if !strip(words.rest).text.is_empty() => return Err(quote(words.rest)),
            None => break,
        }
    }
    let error = |rule, span: TextSpan<'_>, message: &str, instead: String| {
        Finding::error(rule, span, message).fix(instead)
    };
    if program.text.is_empty() {
        return Err(error(
            "unit/exec-path",
            first,
            "the command has no program",
            "write the program's path directly after the prefix".into(),
        ));
    }
    let garbled = |word: &&TextSpan<'_>| !is_utf8(&unescape(word.text));
    if let Some(word) = arguments.iter().chain([&program]).find(garbled) {
        let instead = "write the characters themselves".into();
        return Err(error(
            "unit/value-form",
            *word,
            "the escapes do not form valid UTF-8",
            instead,
        ));
    }
    if own_name && arguments.is_empty() {
        return Err(error(
            "unit/exec-path",
            first,
            "`@` uses the next word as the program's argv[0], but no word follows",
            "write the argv[0] after the path, or remove the `@`".into(),
        ));
    }
    if let Some(finding) = wrong_program(program, key) {
        return Err(finding);
    }
    out.extend(unexpanded(program));
    Ok(())
}

/// Returns the program without the prefixes `-` and `@`, and whether the next word is the program's
/// `argv[0]`. The prefixes can be in any order, each at most once.
fn prefixes(first: TextSpan<'_>) -> (TextSpan<'_>, bool) {
    let (mut rest, mut ignore, mut own_name) = (first, false, false);
    for _ in 0..2 {
        if let (Some(behind), false) = (rest.strip("-"), ignore) {
            (rest, ignore) = (behind, true);
        }
        if let (Some(behind), false) = (rest.strip("@"), own_name) {
            (rest, own_name) = (behind, true);
        }
    }
    (rest, own_name)
}

fn wrong_program(program: TextSpan<'_>, key: &str) -> Option<Finding> {
    let path = unescape(program.text);
    let unsafe_byte = |byte: &u8| *byte < b' ' || b"\\\"'".contains(byte);
    if path.iter().any(unsafe_byte) {
        let finding = Finding::error(
            "unit/exec-path",
            program,
            "the program's path contains a quote, a backslash or a control character",
        );
        return Some(finding.fix("rename the program, or start it with /bin/sh -c '…'"));
    }
    if !path.starts_with(b"/") {
        return Some(not_absolute(program, key));
    }
    path.ends_with(b"/").then(|| {
        Finding::error("unit/exec-path", program, "the command is a folder")
            .fix("write the path of a program")
    })
}

fn not_absolute(program: TextSpan<'_>, key: &str) -> Finding {
    if program.text.starts_with(['-', '@']) {
        let finding = Finding::error(
            "unit/exec-prefix",
            program.slice(0..1),
            "systemd 219 accepts each prefix only once",
        );
        return finding
            .fix("write `-` and `@` at most once each, directly before the absolute path");
    }
    if let Some(prefix) = program.text.chars().next().filter(|c| "+!:|".contains(*c)) {
        let instead = match prefix {
            '+' | '!' if key != "ExecStart" => {
                "write PermissionsStartOnly=yes, so that all commands except ExecStart= run as root"
            }
            '+' | '!' => {
                "move the command that needs root into ExecStartPre= of a unit with PermissionsStartOnly=yes"
            }
            _ => "remove the prefix",
        };
        let finding = Finding::error(
            "unit/exec-prefix",
            program.slice(0..1),
            format!("systemd 219 does not support the prefix {prefix}"),
        );
        return finding.fix(instead);
    }
    let finding = Finding::error(
        "unit/exec-path",
        program,
        format!("`{}` is not an absolute path", program.text),
    );
    finding.fix(if program.text.starts_with(['$', '%', '~']) {
        "systemd 219 does not expand anything in a program's path; write the absolute path"
            .to_owned()
    } else {
        format!(
            "write the absolute path, as in /usr/bin/{}; systemd 219 does not search PATH",
            program.text.trim_start_matches(['.', '/', '"'])
        )
    })
}

fn quote(rest: TextSpan<'_>) -> Finding {
    super::split::quote(strip(rest))
}

/// Finds specifiers in the path of a program. systemd 219 resolves specifiers only in the
/// arguments.
fn unexpanded(program: TextSpan<'_>) -> Option<Finding> {
    let mut letters = program
        .text
        .match_indices('%')
        .filter_map(|(at, _)| program.text[at + 1..].chars().next());
    letters.any(specifier::is_known).then(|| {
        Finding::warning(
            "unit/specifier",
            program,
            "systemd 219 does not expand specifiers in a program's path",
        )
        .effect("systemd starts a program of exactly this name, or fails with 203/EXEC")
        .fix("write the expanded path, or start the program with /bin/sh -c '…'")
    })
}

fn shell_words(value: TextSpan<'_>, out: &mut Vec<Finding>) {
    let of_a_shell = |word: &TextSpan<'_>| {
        matches!(
            word.text,
            "|" | "||" | "&&" | ">" | ">>" | "<" | "2>&1" | "&"
        )
    };
    if let Some(word) = value.words().skip(1).find(of_a_shell) {
        out.push(
            Finding::warning(
                "unit/exec-shell",
                word,
                format!("`{}` has no special meaning here", word.text),
            )
            .effect("no shell reads this line, so the program receives the word as an argument")
            .fix("write /bin/sh -c '…', or StandardOutput="),
        );
    }
}
