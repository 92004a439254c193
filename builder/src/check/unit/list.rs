//! Checks values that are lists of words (src/core/load-fragment.c). In most lists, systemd 219
//! ignores a wrong word and keeps the other words.

use super::assignment::{Assignment, ignored_line, ignored_word};
use super::context::{Context, Expansion};
use super::environment;
use super::split::{quote, words};
use crate::check::finding::Finding;
use crate::check::systemd::name;
use crate::check::systemd::number;
use crate::check::systemd::specifier::{self, Table};
use crate::check::systemd::words::{Words, bare, clean_path, is_safe_path, is_utf8};
use crate::check::text::TextSpan;

/// Checks a value that is a list, and returns the number of words that systemd 219 accepts. Returns
/// `None` if the type is not a list.
pub(super) fn check(
    value_type: &str,
    assignment: &Assignment<'_>,
    context: &Context,
    out: &mut Vec<Finding>,
) -> Option<usize> {
    let value = assignment.value;
    Some(match value_type {
        "strings" => words(value, out, string),
        "units" => words(value, out, |word, out| unit(word, context, out)),
        "sockets" => words(value, out, |word, out| socket(word, context, out)),
        "folders" => words(value, out, |word, out| folder(word, context, out)),
        "protected-paths" => words(value, out, |word, out| {
            path(word, word.text.strip_prefix('-').unwrap_or(word.text), out)
        }),
        "paths-below-mounts" => words(value, out, below_mount),
        "paths%" => symlinks(assignment, context, out),
        "environment" => environment::assignments(assignment, context, out),
        "documentation" => environment::documentation(assignment, context, out),
        "environment-names" => environment::names(value, out),
        "statuses" => bare(value).filter(|word| status(*word, out)).count(),
        "mount-flags" => mount_flags(assignment, out),
        "install" | "also" => words(value, out, |word, out| installed(word, context, out)),
        "alias" => words(value, out, |_, _| true),
        _ => return None,
    })
}

fn string(word: TextSpan<'_>, out: &mut Vec<Finding>) -> bool {
    let right = is_utf8(word.text.as_bytes());
    if !right {
        out.push(
            ignored_word("unit/value-form", word, "valid UTF-8 text")
                .fix("remove the invalid characters"),
        );
    }
    right
}

/// Checks the name of a unit in a list of dependencies (`config_parse_unit_deps`).
fn unit(word: TextSpan<'_>, context: &Context, out: &mut Vec<Finding>) -> bool {
    let right = context.check_expanded(Table::Name, word.text, |text| {
        name::is_loadable(&context.resolve(text))
    }) == Expansion::Accepted;
    if !right {
        let finding = ignored_word("unit/unit-name", word, "the name of a unit");
        out.push(match name::kind_of(word.text) {
            Some(_) => finding.fix("a unit of this type cannot have instances"),
            None if word.text.contains(',') => finding.fix("separate units with blanks"),
            None if name::type_of(word.text).is_some() && word.text.contains('%') => {
                finding.fix("systemd 219 expands only %n, %N, %p and %i in the names of units")
            }
            None if name::type_of(word.text).is_some() => finding.fix(
                "a unit's name consists of letters, digits and :-_.\\@, and does not begin with @; `systemd-escape` encodes other characters",
            ),
            None => finding.fix(format!(
                "add the type, as in {}.service",
                word.text.trim_end_matches('.')
            )),
        });
    }
    right
}

fn socket(word: TextSpan<'_>, context: &Context, out: &mut Vec<Finding>) -> bool {
    let test = |text: &str| text.ends_with(".socket") && name::is_loadable(&context.resolve(text));
    let right = context.check_expanded(Table::Name, word.text, test) == Expansion::Accepted;
    if !right {
        out.push(
            ignored_word("unit/unit-name", word, "the name of a socket unit")
                .fix("write NAME.socket"),
        );
    }
    right
}

/// Checks the name of a unit in `[Install]`, for which `systemctl enable` creates a link
/// (src/shared/install.c).
fn installed(word: TextSpan<'_>, context: &Context, out: &mut Vec<Finding>) -> bool {
    let right = context
        .check_expanded(Table::Full, word.text, |text| name::kind_of(text).is_some())
        == Expansion::Accepted;
    if !right {
        let finding = Finding::error(
            "unit/enables-nothing",
            word,
            format!("`{}` is not the name of a unit", word.text),
        );
        out.push(
            finding
                .effect("systemctl enable does not create a link for this word, and fails")
                .fix(format!(
                    "add the type, as in {}.target",
                    word.text.trim_end_matches('.')
                )),
        );
    }
    right
}

/// Checks the name of a folder below /run (`config_parse_runtime_directory`, `filename_is_valid`).
fn folder(word: TextSpan<'_>, context: &Context, out: &mut Vec<Finding>) -> bool {
    let test =
        |text: &str| !matches!(text, "" | "." | "..") && !text.contains('/') && text.len() <= 4096;
    let right = context.check_expanded(Table::Name, word.text, test) == Expansion::Accepted;
    if !right {
        let finding = ignored_word("unit/value-form", word, "the name of one folder");
        out.push(finding.fix(
            "write a name without slashes; systemd 219 creates the folder directly below /run",
        ));
    } else if let Some(finding) = unexpanded(word, specifier::NAME_LETTERS) {
        out.push(finding);
    }
    right
}

fn path(word: TextSpan<'_>, path: &str, out: &mut Vec<Finding>) -> bool {
    let right = path.starts_with('/') && is_utf8(path.as_bytes());
    if !right {
        let finding = ignored_word("unit/relative-path", word, "an absolute path");
        out.push(finding.fix(if word.text.contains('%') {
            "systemd 219 does not expand specifiers here; write the absolute path"
        } else {
            "begin the path with /"
        }));
    } else if let Some(finding) = unexpanded(word, "") {
        out.push(finding);
    }
    right
}

/// Finds a specifier of systemd 219 that systemd does not expand in this value. `expanded` contains
/// the letters of the specifiers that systemd expands in this value.
pub(super) fn unexpanded(part: TextSpan<'_>, expanded: &str) -> Option<Finding> {
    // If systemd expands specifiers, `%%` is a single `%` and begins no specifier.
    let text = match expanded {
        "" => part.text.to_owned(),
        _ => part.text.replace("%%", "__"),
    };
    let letters = text
        .match_indices('%')
        .filter_map(|(at, _)| Some((at, text[at + 1..].chars().next()?)));
    let (at, letter) = letters
        .into_iter()
        .find(|(_, letter)| specifier::is_known(*letter) && !expanded.contains(*letter))?;
    let finding = Finding::warning(
        "unit/specifier",
        part.slice(at..at + 2),
        match expanded {
            "" => "systemd 219 does not expand specifiers here".to_owned(),
            _ => format!("systemd 219 does not expand %{letter} here"),
        },
    );
    Some(
        finding
            .effect(format!("systemd keeps %{letter} unchanged"))
            .fix("write the expanded text"),
    )
}

/// Checks RequiresMountsFor= (`unit_require_mounts_for`).
fn below_mount(word: TextSpan<'_>, out: &mut Vec<Finding>) -> bool {
    if !path(word, word.text, out) {
        return false;
    }
    let right = is_safe_path(&clean_path(word.text));
    if !right {
        out.push(
            ignored_word("unit/value-form", word, "a path without . and ..")
                .fix("write the path without . and .."),
        );
    }
    right
}

/// Checks Symlinks= of a socket. systemd 219 stops at the first wrong path.
fn symlinks(assignment: &Assignment<'_>, context: &Context, out: &mut Vec<Finding>) -> usize {
    let (words, rest) = Words::of(assignment.value).all();
    for (at, word) in words.iter().enumerate() {
        if context.check_expanded(Table::Full, word.text, |text| {
            text.starts_with('/') && is_utf8(text.as_bytes())
        }) != Expansion::Accepted
        {
            let finding = Finding::error(
                "unit/relative-path",
                *word,
                format!("`{}` is not an absolute path", word.text),
            );
            out.push(
                finding
                    .effect("systemd ignores this path and all later paths")
                    .fix("begin the path with /"),
            );
            return at;
        }
    }
    out.extend(rest.map(quote));
    words.len()
}

/// Checks an exit code or a signal (`config_parse_set_status`).
fn status(word: TextSpan<'_>, out: &mut Vec<Finding>) -> bool {
    let code = number::int(word.text);
    let right = code.map_or_else(
        || number::is_signal(word.text),
        |code| (0..=255).contains(&code),
    );
    if !right {
        let finding = ignored_word(
            "unit/value-form",
            word,
            "an exit code from 0 to 255 or a signal",
        );
        out.push(finding.fix(
            "write numbers, or names of signals; systemd 219 does not support names of exit codes",
        ));
    }
    right
}

/// Checks MountFlags= (`config_parse_exec_mount_flags`). The last flag applies. systemd 219
/// compares `private` with the whole rest of the line, so `private` is valid only as the last word.
fn mount_flags(assignment: &Assignment<'_>, out: &mut Vec<Finding>) -> usize {
    let words: Vec<&str> = assignment
        .value
        .text
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .collect();
    let last = words.len().saturating_sub(1);
    let ends_bare = |word: &str| assignment.value.text.ends_with(word);
    let right = |(at, word): (usize, &&str)| match *word {
        "shared" | "slave" => true,
        "private" => at == last && ends_bare("private"),
        _ => false,
    };
    if words.iter().enumerate().all(right) {
        return 1;
    }
    out.push(ignored_line(
        "unit/value-word",
        assignment.key,
        assignment.value,
        "only one of shared, slave and private",
    ));
    0
}
