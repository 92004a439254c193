//! Reads the words and options of a command as Python 2.7's optparse does. pykickstart's
//! KSOptionParser is based on optparse (options.py). An option can be abbreviated as long as the
//! abbreviation is unique. The value of an option can be the next word. `--` ends the options.

use std::ops::Range;

use recipes::diagnostic::nearest;

use super::split::Token;
use super::table::{Command, KsOption, KsType};
use crate::check::finding::Finding;
use crate::check::python;

/// An option as written.
#[derive(Debug, Clone)]
pub(super) struct GivenOption {
    pub(super) span: Range<usize>,
    pub(super) option: &'static KsOption,
    pub(super) value: Option<String>,
}

/// The words after a command, read as options and arguments.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// The words that are not options.
    pub(super) words: Vec<Token>,
    pub(super) given: Vec<GivenOption>,
}

/// Splits the words after a command into options and other words. Returns each option with its
/// definition and its value. Reports the faults of the options.
pub(super) fn read(
    command: &'static Command,
    shown: &str,
    rest: &[Token],
    out: &mut Vec<Finding>,
) -> Arguments {
    let mut read = Arguments::default();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let text = word.value.as_str();
        if text == "--" {
            read.words.extend(words.cloned());
            break;
        }
        if !text.starts_with('-') || text == "-" {
            read.words.push(word.clone());
            continue;
        }
        let (name, inline) = match text.split_once('=').filter(|_| text.starts_with("--")) {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let Some(option) = matching(command, shown, word, name, out) else {
            continue;
        };
        let value = match (option.value_type, inline) {
            (KsType::Dropped, _) => {
                out.push(refused(
                    word,
                    format!("{shown} no longer accepts {name}"),
                    "remove it".into(),
                ));
                continue;
            }
            (KsType::Flag, Some(_)) => {
                let message = format!("{name} accepts no value");
                out.push(bad_value(word, message, format!("write {name} alone")));
                None
            }
            (KsType::Flag, None) => None,
            (_, Some(value)) => Some(value),
            // optparse uses the next word as the value, regardless of its content.
            (_, None) => words.next().map(|next| next.value.clone()),
        };
        if option.value_type != KsType::Flag {
            out.extend(value_mismatch(word, name, option, value.as_deref()));
        }
        read.given.push(GivenOption {
            span: word.span.clone(),
            option,
            value,
        });
    }
    read
}

fn refused(word: &Token, message: String, instead: String) -> Finding {
    Finding::error("kickstart/option", word.span.clone(), message)
        .effect("anaconda stops")
        .fix(instead)
}

fn bad_value(word: &Token, message: String, instead: String) -> Finding {
    Finding::error("kickstart/option-value", word.span.clone(), message)
        .effect("anaconda stops")
        .fix(instead)
}

/// Returns the option that a name denotes: the option with exactly that name, or the only option
/// whose name begins with the given text. Reports an abbreviated, ambiguous or unknown name.
fn matching(
    command: &'static Command,
    shown: &str,
    word: &Token,
    name: &str,
    out: &mut Vec<Finding>,
) -> Option<&'static KsOption> {
    let names = || {
        command
            .options
            .iter()
            .flat_map(|option| option.names.iter().map(move |name| (*name, option)))
    };
    if let Some((_, option)) = names().find(|(known, _)| *known == name) {
        return Some(option);
    }
    let short: Vec<_> = names()
        .filter(|(known, _)| known.starts_with(name) && name.starts_with("--"))
        .collect();
    match short[..] {
        [(full, option)] => {
            out.push(
                Finding::warning(
                    "kickstart/abbreviation",
                    word.span.clone(),
                    format!("{name} is short for {full}"),
                )
                .effect("CentOS 7 accepts the abbreviation, but later releases do not")
                .fix(format!("write {full}")),
            );
            Some(option)
        }
        [] => {
            let instead = match nearest(name, names().map(|(known, _)| known)) {
                _ if command.options.is_empty() => format!("{shown} has no options"),
                Some(near) => format!("did you mean {near}?"),
                None => format!(
                    "write one of: {}",
                    names()
                        .map(|(known, _)| known)
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            };
            out.push(refused(
                word,
                format!("{shown} has no option {name}"),
                instead,
            ));
            None
        }
        _ => {
            let all = short
                .iter()
                .map(|(known, _)| *known)
                .collect::<Vec<_>>()
                .join(", ");
            out.push(refused(
                word,
                format!("{name} is short for more than one option"),
                format!("write one of: {all}"),
            ));
            None
        }
    }
}

/// Checks an option's value.
fn value_mismatch(
    word: &Token,
    name: &str,
    option: &KsOption,
    value: Option<&str>,
) -> Option<Finding> {
    let Some(value) = value else {
        return Some(bad_value(
            word,
            format!("{name} has no value"),
            format!("write {name}=VALUE"),
        ));
    };
    // If the value looks like an option, pykickstart assumes that the real value is missing
    // (options.py, _check_string).
    let swallowed = value.len() > 2 && value.starts_with("--");
    let (message, expected) = match option.value_type {
        KsType::Int(least, most) => match python::optparse(value) {
            None => (
                format!("{name} accepts only a whole number, not `{value}`"),
                whole_number(name).into(),
            ),
            Some(number) if number < least || number > most => {
                let expected = if most == i64::MAX {
                    format!("{least} or more")
                } else {
                    format!("{least} to {most}")
                };
                (
                    format!("{name} accepts {expected}, not {value}"),
                    format!("expected {expected}"),
                )
            }
            Some(_) => return None,
        },
        KsType::Boolean
            if !["on", "yes", "true", "1", "off", "no", "false", "0"]
                .contains(&value.to_lowercase().as_str()) =>
        {
            (
                format!("{name} accepts only a boolean such as yes or no, not `{value}`"),
                "write yes or no".into(),
            )
        }
        KsType::Choice(words) if !words.split('|').any(|known| known == value) => (
            format!("{name} does not accept `{value}`"),
            one_of(value, words),
        ),
        text if swallowed && text.accepts_any_text() => (
            format!("the value of {name} is missing, because `{value}` looks like an option"),
            format!("write {name}=VALUE"),
        ),
        KsType::Lenient(words)
            if !words
                .split('|')
                .any(|known| known.eq_ignore_ascii_case(value)) =>
        {
            let message = format!("{name} does not accept `{value}`");
            let finding = Finding::warning("kickstart/ignored", word.span.clone(), message)
                .effect("anaconda ignores the value");
            return Some(finding.fix(one_of(value, words)));
        }
        _ => return None,
    };
    Some(bad_value(word, message, expected))
}

/// Returns advice on how to write the number of an option. The units are those of anaconda
/// 21.48.22.159 (pyanaconda/kickstart.py).
fn whole_number(name: &str) -> &'static str {
    match name {
        "--size" | "--maxsize" | "--metadatasize" | "--cachesize" | "--reserved-space" => {
            "write the size in MiB, without a unit"
        }
        "--chunksize" | "--pesize" => "write the size in KiB, without a unit",
        _ => "write a whole number, without a unit",
    }
}

fn one_of(value: &str, words: &'static str) -> String {
    nearest(value, words.split('|')).map_or_else(
        || {
            format!(
                "expected one of: {}",
                words.trim_end_matches('|').replace('|', ", ")
            )
        },
        |near| format!("did you mean {near}?"),
    )
}
