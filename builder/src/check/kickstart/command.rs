//! The commands of a kickstart and their options, as pykickstart's RHEL7 handler takes them
//! (rhel7-branch, handlers/rhel7.py and commands/; options by Python's optparse, which takes an unambiguous beginning).

use recipes::diagnostic::nearest;

use super::super::finding::Finding;
use super::super::known::{self, KsOption};
use super::special::special;
use super::split::Word;

/// A command's option as it is written.
pub(super) struct Given<'a> {
    pub(super) word: &'a Word,
    /// The option it is short for, or is.
    pub(super) option: &'static KsOption,
    /// Its value, behind the = or in the next word.
    pub(super) value: Option<&'a str>,
}

pub(super) fn check(words: &[Word], out: &mut Vec<Finding>) {
    let Some((command, rest)) = words.split_first() else { return };
    let Some(options) = known::KICKSTART.get(command.value.as_str()) else {
        out.push(unknown_command(command));
        return;
    };
    let given = read(command, options, rest, out);
    for option in options.iter().filter(|option| option.needed) {
        if !given.iter().any(|given| std::ptr::eq(given.option, option)) {
            let message = format!("{} needs {}=", command.value, option.names[0]);
            out.push(
                Finding::error("kickstart/needed-option", command.span.clone(), message)
                    .does("anaconda stops")
                    .instead("add it"),
            );
        }
    }
    special(command, rest, &given, out);
}

fn unknown_command(command: &Word) -> Finding {
    let finding =
        Finding::error("kickstart/command", command.span.clone(), format!("7 has no command {}", command.value));
    let finding = finding.does("anaconda stops: unknown command");
    let instead = match command.value.as_str() {
        "authselect" => "authselect came with 8: write authconfig",
        "timesource" => "timesource came with 8.4: bring a chrony.conf, or write timezone --ntpservers=",
        "module" => "modules came with 8: name the packages",
        "syspurpose" | "rhsm" => "take it away",
        "ostreecontainer" | "bootc" => "it came with later releases; there is ostreesetup",
        "interactive" | "langsupport" | "mouse" | "monitor" | "lilo" | "lilocheck" => {
            "take it away: it is gone since 6 or before"
        }
        "key" => "take it away: installation numbers are gone",
        name => {
            return match nearest(name, known::KICKSTART.keys().copied()) {
                Some(near) => finding.instead(format!("did you mean {near}?")),
                None => finding.instead("take it away, or do it in %post"),
            };
        }
    };
    finding.instead(instead)
}

/// Pairs each option with what it means and its value.
fn read<'a>(command: &Word, options: &'static [KsOption], rest: &'a [Word], out: &mut Vec<Finding>) -> Vec<Given<'a>> {
    let mut given = Vec::new();
    let mut words = rest.iter().peekable();
    while let Some(word) = words.next() {
        if !word.value.starts_with("--") {
            continue;
        }
        let (name, inline) =
            word.value.split_once('=').map_or((word.value.as_str(), None), |(name, value)| (name, Some(value)));
        let begins = |option: &&KsOption| option.names.iter().any(|known| known.starts_with(name));
        let exact = options.iter().find(|option| option.names.contains(&name));
        let short: Vec<_> = options.iter().filter(begins).collect();
        let option = match (exact, &short[..]) {
            (Some(option), _) => option,
            (None, [option]) => {
                let full = option.names.iter().find(|known| known.starts_with(name)).copied().unwrap_or_default();
                out.push(
                    Finding::warning(
                        "kickstart/abbreviation",
                        word.span.clone(),
                        format!("{name} is short for {full}"),
                    )
                    .does("7 takes it, later releases do not")
                    .instead(format!("write {full}")),
                );
                option
            }
            (None, _) => {
                let finding = Finding::error(
                    "kickstart/option",
                    word.span.clone(),
                    format!("{} has no option {name}", command.value),
                )
                .does("anaconda stops: no such option");
                let names = options.iter().flat_map(|option| option.names.iter().copied());
                out.push(match nearest(name, names.clone()) {
                    Some(near) => finding.instead(format!("did you mean {near}?")),
                    None if options.is_empty() => finding.instead(format!("{} has no options", command.value)),
                    None => finding.instead(format!("it has: {}", names.collect::<Vec<_>>().join(", "))),
                });
                continue;
            }
        };
        let value = match (option.form, inline) {
            ("flag", Some(_)) => {
                out.push(
                    Finding::error("kickstart/option-value", word.span.clone(), format!("{name} takes no value"))
                        .does("anaconda stops")
                        .instead(format!("write {name} alone")),
                );
                None
            }
            ("flag", None) => None,
            (_, Some(value)) => Some(value),
            // optparse takes the next word whatever it is.
            (_, None) => words.next().map(|next| next.value.as_str()),
        };
        if option.form != "flag" {
            out.extend(bad_value(word, name, option, value));
        }
        given.push(Given { word, option, value });
    }
    given
}

fn bad_value(word: &Word, name: &str, option: &KsOption, value: Option<&str>) -> Option<Finding> {
    let wrong = |message: String, expected: String| {
        Some(
            Finding::error("kickstart/option-value", word.span.clone(), message)
                .does("anaconda stops")
                .instead(expected),
        )
    };
    let Some(value) = value else { return wrong(format!("{name} has no value"), format!("write {name}=VALUE")) };
    match option.form {
        "int" if value.parse::<i64>().is_err() => {
            wrong(format!("{name} takes a whole number, not `{value}`"), "sizes are in MiB, without a unit".into())
        }
        "boolean"
            if !["true", "1", "on", "yes", "y", "false", "0", "off", "no", "n"]
                .contains(&value.to_lowercase().as_str()) =>
        {
            wrong(format!("{name} takes yes or no, not `{value}`"), "write yes or no".into())
        }
        form if form.contains('|') && !form.split('|').any(|known| known == value) => {
            let expected = nearest(value, form.split('|')).map_or_else(
                || format!("expected one of: {}", form.replace('|', ", ")),
                |near| format!("did you mean {near}?"),
            );
            wrong(format!("{name} knows no `{value}`"), expected)
        }
        _ => None,
    }
}
