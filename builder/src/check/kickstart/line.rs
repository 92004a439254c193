//! A parsed command of a kickstart, and the parts of earlier commands that pykickstart remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::options::{Arguments, GivenOption};
use super::split::Token;
use super::table::{Command, KsOption, KsType};
use crate::check::finding::Finding;
use crate::check::python;
use crate::check::text::TextSpan;

/// A command, or the header of a section, with its words and options.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// The command's name, as written.
    pub(super) name: Token,
    pub(super) command: &'static Command,
    /// The whole line with its line end.
    pub(super) text: TextSpan<'a>,
    pub(super) words: Vec<Token>,
    pub(super) given: Vec<GivenOption>,
}

impl<'a> Line<'a> {
    pub(super) fn new(
        name: Token,
        command: &'static Command,
        text: TextSpan<'a>,
        read: Arguments,
    ) -> Self {
        Self {
            name,
            command,
            text,
            words: read.words,
            given: read.given,
        }
    }

    /// Returns the position of the command's name.
    pub(super) fn span(&self) -> Range<usize> {
        self.name.span.clone()
    }

    /// Returns whether the line is one of these commands. `names` contains the first name of each
    /// command, but the line can use any of the command's names.
    pub(super) fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.command.name)
    }

    /// Returns the last occurrence of an option.
    pub(super) fn find(&self, name: &str) -> Option<&GivenOption> {
        self.given
            .iter()
            .rfind(|given| given.option.names.contains(&name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns the value of the last occurrence of an option.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.find(name)?.value.as_deref()
    }

    /// Returns the comma-separated parts of all values of an option.
    pub(super) fn list<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.given
            .iter()
            .filter(move |given| given.option.names.contains(&name))
            .filter_map(|given| given.value.as_deref())
            .flat_map(|value| value.split(','))
            .map(str::trim)
    }
}

/// The parts of earlier commands that pykickstart remembers.
#[derive(Debug, Default)]
pub(super) struct EarlierLines {
    /// The commands on earlier lines, each by the first of its names.
    pub(super) commands: BTreeSet<&'static str>,
    /// The values on earlier lines that still apply, each with its command and option.
    pub(super) kept: BTreeMap<(&'static str, &'static str), String>,
    /// The options on earlier lines, each with its command. optparse remembers all these options.
    seen: BTreeSet<(&'static str, &'static str)>,
    /// The names that must be unique, each with its command.
    pub(super) names: BTreeSet<(&'static str, String)>,
}

impl EarlierLines {
    /// Adds a line that has been checked.
    pub(super) fn add(&mut self, line: &Line<'_>) {
        self.commands.insert(line.command.name);
        self.seen.extend(
            line.given
                .iter()
                .map(|given| (line.command.name, given.option.names[0])),
        );
        for given in line.given.iter().filter(|given| given.option.kept) {
            let value = given.value.clone().unwrap_or_default();
            self.kept
                .insert((line.command.name, given.option.names[0]), value);
        }
    }

    /// Returns whether an earlier line of the command had an option.
    pub(super) fn had_option(&self, command: &'static str, option: &'static str) -> bool {
        self.seen.contains(&(command, option))
    }

    /// Returns the value that is in effect for an option. The value comes from this line or from an
    /// earlier line.
    pub(super) fn value<'s>(&'s self, line: &'s Line<'_>, option: &KsOption) -> Option<&'s str> {
        let own = line
            .given
            .iter()
            .filter(|given| given.option.names[0] == option.names[0]);
        let mut own = own.map(|given| given.value.as_deref().unwrap_or_default());
        let own = match option.value_type {
            // pykickstart's callback for a `Lenient` option sets the value only once, so the first
            // valid value applies.
            KsType::Lenient(words) => own.find(|value| {
                words
                    .split('|')
                    .any(|word| word.eq_ignore_ascii_case(value))
            }),
            KsType::Device => own.next(),
            _ => own.next_back(),
        };
        own.or_else(|| {
            self.kept
                .get(&(line.command.name, option.names[0]))
                .map(String::as_str)
        })
    }

    /// Returns whether an option is set. An option is set if Python treats its stored value as
    /// true.
    pub(super) fn is_set(&self, line: &Line<'_>, name: &str) -> bool {
        let Some(option) = line
            .command
            .options
            .iter()
            .find(|option| option.names.contains(&name))
        else {
            return false;
        };
        let Some(value) = self.value(line, option) else {
            return false;
        };
        match option.value_type {
            KsType::Flag | KsType::List | KsType::Lenient(_) | KsType::Boolean => true,
            KsType::Text | KsType::Choice(_) | KsType::Dropped => !value.is_empty(),
            KsType::Items => value.split(',').any(|item| !item.is_empty()),
            KsType::Device => !value.strip_prefix("/dev/").unwrap_or(value).is_empty(),
            KsType::Int(..) => python::optparse(value).is_some_and(|number| number != 0),
        }
    }

    /// Returns the value that applies for the option with this name.
    pub(super) fn text<'s>(&'s self, line: &'s Line<'_>, name: &str) -> Option<&'s str> {
        let option = line
            .command
            .options
            .iter()
            .find(|option| option.names.contains(&name))?;
        self.value(line, option)
    }
}

/// Returns an error that marks the command's name, with the effect that anaconda stops.
pub(super) fn stops_anaconda(
    rule: &'static str,
    line: &Line<'_>,
    message: impl Into<String>,
    instead: impl Into<String>,
) -> Finding {
    Finding::error(rule, line.span(), message)
        .effect("anaconda stops")
        .fix(instead)
}
