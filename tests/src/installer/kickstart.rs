//! Reads a kickstart file in the same way as CentOS 7's own parser.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

use super::words;

/// The commands that CentOS 7.9 supports, each with its options.
const COMMANDS: &str = include_str!("el7-commands.txt");

/// A parsed kickstart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kickstart {
    /// The commands, in file order.
    pub commands: Vec<Command>,
    /// The sections, in file order.
    pub sections: Vec<Section>,
}

/// A command outside of all sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The command's position: `kickstart:12`, or the name of an included file and its line.
    pub place: String,
    /// The command's name.
    pub name: String,
    /// The arguments after the name, unquoted.
    pub arguments: Vec<String>,
}

/// A section from its header to its `%end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The position of the section's header.
    pub place: String,
    /// The kind of section.
    pub kind: Kind,
    /// The section's options: names such as `--log` with their values. A flag has an empty value.
    pub options: BTreeMap<String, String>,
    /// The header's arguments that are not options, such as an add-on's name.
    pub arguments: Vec<String>,
    /// The lines between header and `%end`, unchanged.
    pub body: String,
}

/// The kinds of sections that CentOS 7 supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `%packages`
    Packages,
    /// `%pre`: runs first, in the installer.
    Pre,
    /// `%pre-install`: runs when the target's file systems exist and are empty.
    PreInstall,
    /// `%post`: runs in the target, or in the installer with --nochroot.
    Post,
    /// `%traceback`: runs when the installer crashes.
    Traceback,
    /// `%onerror`: runs when the installer encounters an error.
    OnError,
    /// `%addon`
    Addon,
    /// `%anaconda`
    Anaconda,
}

impl Kind {
    const ALL: [(&'static str, Kind); 8] = [
        ("%packages", Kind::Packages),
        ("%pre", Kind::Pre),
        ("%pre-install", Kind::PreInstall),
        ("%post", Kind::Post),
        ("%traceback", Kind::Traceback),
        ("%onerror", Kind::OnError),
        ("%addon", Kind::Addon),
        ("%anaconda", Kind::Anaconda),
    ];

    fn of(word: &str) -> Option<Kind> {
        Kind::ALL
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, kind)| *kind)
    }

    fn is_script(self) -> bool {
        !matches!(self, Kind::Packages | Kind::Addon | Kind::Anaconda)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Kind::ALL
            .iter()
            .find(|(_, kind)| kind == self)
            .map_or("", |(name, _)| name);
        formatter.write_str(name)
    }
}

/// A function that resolves an `%include`. The function returns the included text, or `None` to
/// skip the `%include`. The first pass, which runs before `%pre`, skips files that do not exist
/// yet.
pub type Include<'a> = &'a dyn Fn(&str) -> Result<Option<String>>;

impl Kickstart {
    /// Reads a kickstart. The errors are those that end an installation on CentOS 7.
    pub fn parse(text: &str, include: Include<'_>) -> Result<Kickstart> {
        let mut kickstart = Kickstart::default();
        kickstart.read(text, "kickstart", include, 0)?;
        Ok(kickstart)
    }

    /// Returns the sections of a kind, in file order.
    pub fn sections(&self, kind: Kind) -> impl Iterator<Item = &Section> {
        self.sections
            .iter()
            .filter(move |section| section.kind == kind)
    }

    fn read(&mut self, text: &str, name: &str, include: Include<'_>, depth: u8) -> Result<()> {
        ensure!(
            depth < 10,
            "{name}: files include each other more than ten levels deep"
        );
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let place = format!("{name}:{}", number + 1);
            let words = words::split(line).with_context(|| place.clone())?;
            let Some((first, rest)) = words.split_first() else {
                continue;
            };
            if first == "%include" {
                let [file] = rest else {
                    bail!("{place}: %include accepts one file or URL")
                };
                if let Some(text) =
                    include(file).with_context(|| format!("{place}: cannot include {file}"))?
                {
                    self.read(&text, file, include, depth + 1)?;
                }
            } else if let Some(kind) = Kind::of(first) {
                let (options, arguments) = header(kind, rest).with_context(|| place.clone())?;
                let body = body(kind, &mut lines).with_context(|| place.clone())?;
                self.sections.push(Section {
                    place,
                    kind,
                    options,
                    arguments,
                    body,
                });
            } else {
                ensure!(
                    !first.starts_with('%'),
                    "{place}: CentOS 7 has no section {first}"
                );
                known(first, rest).with_context(|| place.clone())?;
                self.commands.push(Command {
                    place,
                    name: first.clone(),
                    arguments: rest.to_vec(),
                });
            }
        }
        Ok(())
    }
}

impl Command {
    /// Returns the value of an option, which is written as `--name=value` or as `--name value`.
    pub fn option(&self, name: &str) -> Option<&str> {
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == name {
                return arguments.next().map(String::as_str);
            }
            if let Some(value) = argument
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='))
            {
                return Some(value);
            }
        }
        None
    }

    /// Returns whether the command has this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| argument == flag)
    }
}

impl Section {
    /// Returns a section whose script stops a unit. The script stands in for systemd, which stops
    /// the unit when the installer shuts down.
    pub(super) fn of_unit(unit: &str) -> Section {
        Section {
            place: unit.to_owned(),
            kind: Kind::PreInstall,
            options: BTreeMap::from([
                ("--interpreter".into(), "/bin/bash".into()),
                ("--log".into(), "/tmp/unit.log".into()),
            ]),
            arguments: Vec::new(),
            body: format!("systemctl stop {unit}\n"),
        }
    }

    /// Returns whether the section has this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.options.contains_key(flag)
    }
}

type Header = (BTreeMap<String, String>, Vec<String>);

/// Reads a section's header. Checks the options of scripts, but not those of other sections.
fn header(kind: Kind, words: &[String]) -> Result<Header> {
    let (mut options, mut arguments) = Header::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with("--") {
            ensure!(
                !kind.is_script(),
                "{kind} does not accept the argument {word}"
            );
            arguments.push(word.clone());
            continue;
        }
        let (name, value) = word
            .split_once('=')
            .map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        let value = match (kind.is_script(), name) {
            (true, "--interpreter" | "--log" | "--logfile") => match value {
                Some(value) => value.to_owned(),
                None => words
                    .next()
                    .with_context(|| format!("{name} needs a value"))?
                    .clone(),
            },
            (true, "--erroronfail") => String::new(),
            (true, "--nochroot") if kind == Kind::Post => String::new(),
            (true, _) => bail!("{kind} has no option {name}"),
            (false, _) => value.unwrap_or_default().to_owned(),
        };
        let name = if name == "--logfile" { "--log" } else { name };
        options.insert(name.to_owned(), value);
    }
    Ok((options, arguments))
}

/// Returns the lines up to `%end`. The lines are kept unchanged, including `%include`.
fn body<'a>(kind: Kind, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<String> {
    let mut body = String::new();
    for (_, line) in lines {
        let first = line.split_whitespace().next().unwrap_or_default();
        if first == "%end" {
            return Ok(body);
        }
        if line.starts_with('%') && Kind::of(first).is_some() {
            break;
        }
        body.push_str(line);
        body.push('\n');
    }
    bail!("Section {kind} does not end with %end.")
}

/// Checks that CentOS 7 has the command and that the command has these options. CentOS 7's option
/// parser accepts an abbreviated option if it is unambiguous.
fn known(name: &str, arguments: &[String]) -> Result<()> {
    let line = COMMANDS
        .lines()
        .find(|line| line.split(' ').next() == Some(name))
        .with_context(|| format!("CentOS 7 has no command {name}"))?;
    let options: Vec<&str> = line.split(' ').skip(1).collect();
    for argument in arguments
        .iter()
        .filter(|argument| argument.starts_with("--"))
    {
        let given = argument.split('=').next().unwrap_or_default();
        let meant = options
            .iter()
            .filter(|option| option.starts_with(given))
            .count();
        let fits = options == ["*"] || options.contains(&given) || meant == 1;
        ensure!(fits, "{name} has no option {given} on CentOS 7");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
