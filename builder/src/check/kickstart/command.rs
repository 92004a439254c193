//! Compares a line with the table of commands, and reports the faults that make pykickstart's RHEL7
//! handler refuse the line: unknown commands, missing options, too few or too many words, and
//! options and commands that exclude each other (rhel7-branch, handlers/rhel7.py, commands/,
//! base.py).

use recipes::diagnostic::nearest;

use super::line::{EarlierLines, Line, stops_anaconda};
use super::split::Token;
use super::table::{self, KsRule, KsType, Words};
use super::{options, parse_rules};
use crate::check::finding::Finding;
use crate::check::text::TextSpan;

/// Reads a command, and reports the faults that make pykickstart refuse the command. Returns `None`
/// if CentOS 7's pykickstart does not have the command.
pub(super) fn read<'a>(
    words: &[Token],
    text: TextSpan<'a>,
    earlier: &mut EarlierLines,
    out: &mut Vec<Finding>,
) -> Option<Line<'a>> {
    let (name, rest) = words.split_first()?;
    let Some(command) = table::command(&name.value).filter(|_| !name.value.starts_with('%')) else {
        out.push(unknown(name));
        return None;
    };
    let read = if command.words == Words::Raw {
        options::Arguments {
            words: rest.to_vec(),
            given: Vec::new(),
        }
    } else {
        options::read(command, &name.value, rest, out)
    };
    let line = Line::new(name.clone(), command, text, read);
    check(&line, earlier, out);
    parse_rules::check(&line, earlier, out);
    earlier.add(&line);
    Some(line)
}

/// Checks a line against the table. The line is a command or the header of a section.
pub(super) fn check(line: &Line<'_>, earlier: &EarlierLines, out: &mut Vec<Finding>) {
    for option in line.command.options.iter().filter(|option| option.needed) {
        let name = option.names[0];
        // If a rule of the table already requires this option, that rule reports the fault.
        let is_ruled = |rule: &KsRule| matches!(rule, KsRule::Any(names) if names[..] == [name]);
        if line.has(name) || line.command.rules.iter().any(is_ruled) {
            continue;
        }
        let message = format!("{} needs {name}=", line.name.value);
        out.push(if earlier.had_option(line.command.name, name) {
            Finding::warning("kickstart/needed-option", line.span(), message)
                .effect("pykickstart accepts the line because an earlier line has the option, but anaconda does not receive a value")
                .fix("add it")
        } else {
            stops_anaconda("kickstart/needed-option", line, message, "add it")
        });
    }
    count(line, out);
    for rule in &line.command.rules {
        out.extend(violation(line, rule, earlier));
    }
}

/// Checks that the command accepts the number of words, and reports a word that the command
/// ignores.
fn count(line: &Line<'_>, out: &mut Vec<Finding>) {
    let (shown, wants) = (&line.name.value, line.command.wants);
    match line.command.words {
        Words::Raw => {}
        Words::Any => {
            // A word with a line end gets a separate warning.
            let ignored = line
                .words
                .iter()
                .find(|word| !word.value.contains(['\n', '\r']));
            if let Some(word) = ignored.filter(|_| wants.is_empty()) {
                let message = format!("{shown} ignores the word `{}`", word.value.escape_default());
                let finding = Finding::warning("kickstart/ignored", word.span.clone(), message);
                out.push(
                    finding
                        .effect("the word has no effect")
                        .fix("remove the word, or write it as an option with --"),
                );
            }
        }
        Words::Between(least, _) if line.words.len() < least => {
            let message = format!("{shown} needs {wants}");
            out.push(stops_anaconda(
                "kickstart/words",
                line,
                message,
                format!("write {wants} after {shown}"),
            ));
        }
        Words::Between(_, most) => {
            let Some(word) = line.words.get(most) else {
                return;
            };
            let message = format!(
                "`{}` is one word too many for {shown}",
                word.value.escape_default()
            );
            let finding = Finding::error("kickstart/words", word.span.clone(), message)
                .effect("anaconda stops");
            out.push(match wants {
                "" => finding.fix(format!("{shown} accepts no words; remove this word")),
                wants => finding.fix(format!(
                    "{shown} accepts only {wants}; remove the word or quote it"
                )),
            });
        }
    }
}

/// Reports a violation of a rule in the table.
fn violation(line: &Line<'_>, rule: &KsRule, earlier: &EarlierLines) -> Option<Finding> {
    let shown = &line.name.value;
    let says = |name: &str| earlier.is_set(line, name);
    let all = |names: &[&str]| spelled_out(line, names);
    match rule {
        KsRule::Any(names) if !names.iter().any(|name| says(name)) => Some(stops_anaconda(
            "kickstart/needed-option",
            line,
            format!("{shown} needs {}", all(names)),
            if names.len() == 1 {
                "add it"
            } else {
                "add one of them"
            },
        )),
        KsRule::One(names) => {
            let given = |name: &&&str| earlier.text(line, name).is_some();
            let message = match names.iter().filter(given).count() {
                1 => return None,
                0 => format!("{shown} needs {}", all(names)),
                _ => format!("{shown} accepts only one of {}", all(names)),
            };
            Some(stops_anaconda(
                "kickstart/contradiction",
                line,
                message,
                "write exactly one of them",
            ))
        }
        KsRule::Apart(one, other) if says(one) && says(other) => {
            let message = format!("{} excludes {}", spelled(line, one), spelled(line, other));
            Some(stops_anaconda(
                "kickstart/contradiction",
                line,
                message,
                "remove one of them",
            ))
        }
        KsRule::Needs(one, others) if says(one) && !others.iter().any(|name| says(name)) => {
            let message = format!("{} is used without {}", spelled(line, one), all(others));
            Some(stops_anaconda(
                "kickstart/needed-option",
                line,
                message,
                "add it",
            ))
        }
        KsRule::After(commands) => {
            let other = commands
                .iter()
                .find(|name| earlier.commands.contains(**name))?;
            let message = format!("{shown} follows {other}, but CentOS 7 accepts only one of them");
            Some(stops_anaconda(
                "kickstart/contradiction",
                line,
                message,
                "remove one of them",
            ))
        }
        _ => None,
    }
}

/// Formats an option for a message, with `=` if the option has a value.
fn spelled(line: &Line<'_>, name: &str) -> String {
    let is_flag = line
        .command
        .options
        .iter()
        .any(|option| option.names.contains(&name) && option.value_type == KsType::Flag);
    if is_flag {
        name.to_owned()
    } else {
        format!("{name}=")
    }
}

fn spelled_out(line: &Line<'_>, names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| spelled(line, name)).collect();
    names.join(" or ")
}

fn unknown(command: &Token) -> Finding {
    let name = command.value.escape_debug().to_string();
    let finding = Finding::error(
        "kickstart/command",
        command.span.clone(),
        format!("kickstart in CentOS 7 has no command {name}"),
    );
    let finding = finding.effect("anaconda stops: unknown command");
    let instead = match command.value.as_str() {
        "authselect" => "RHEL 8 added authselect; write authconfig instead",
        "timesource" => {
            "RHEL 8.4 added timesource; add a chrony.conf, or write timezone --ntpservers="
        }
        "module" => "RHEL 8 added modules; list the packages instead",
        "syspurpose" | "rhsm" => "remove it",
        "ostreecontainer" | "bootc" => {
            "a later release added this command; write ostreesetup instead"
        }
        "interactive" | "langsupport" | "mouse" | "monitor" | "lilo" | "lilocheck" => {
            "remove the command; RHEL 6 or an earlier release dropped it"
        }
        "key" => "remove the command; installation numbers no longer exist",
        name if name.starts_with('\u{feff}') => {
            "the file begins with a byte order mark; save the file as UTF-8 without the mark"
        }
        name => {
            return match nearest(name, table::commands()) {
                Some(near) => finding.fix(format!("did you mean {near}?")),
                None => finding.fix("remove the command, or do its work in %post"),
            };
        }
    };
    finding.fix(instead)
}
