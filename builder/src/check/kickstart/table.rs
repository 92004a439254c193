//! Reads known/kickstart-rhel7.txt, the table of the commands and sections with their words and
//! options.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::check::tables;

/// A command of a kickstart, or the header of a section.
#[derive(Debug)]
pub(super) struct Command {
    /// The first of the command's names. The checker records the earlier lines of the command under
    /// this name.
    pub(super) name: &'static str,
    pub(super) words: Words,
    /// A description of the command's words, for a message.
    pub(super) wants: &'static str,
    pub(super) options: Vec<KsOption>,
    pub(super) rules: Vec<KsRule>,
}

/// The number of words that a command accepts besides its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// The command parses its line itself.
    Raw,
    /// Any number of words. The command ignores the words unless [`Command::wants`] describes them.
    Any,
    /// The minimum and the maximum number of words.
    Between(usize, usize),
}

#[derive(Debug)]
pub(super) struct KsOption {
    /// The names of the option, each with its dashes.
    pub(super) names: Vec<&'static str>,
    pub(super) value_type: KsType,
    /// Whether pykickstart refuses the command without the option.
    pub(super) needed: bool,
    /// Whether a value from an earlier line of the same command still applies.
    pub(super) kept: bool,
}

/// The type of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KsType {
    /// The option has no value.
    Flag,
    Text,
    /// A comma-separated list; empty parts count.
    List,
    /// A comma-separated list; empty parts are ignored.
    Items,
    /// A device; a leading `/dev/` is ignored.
    Device,
    /// A whole number within bounds.
    Int(i64, i64),
    Boolean,
    /// One of these words.
    Choice(&'static str),
    /// One of these words, ignoring case; any other word is ignored.
    Lenient(&'static str),
    /// pykickstart knows the option, but refuses every use of the option.
    Dropped,
}

/// A rule about the options and commands that may be combined.
#[derive(Debug)]
pub(super) enum KsRule {
    /// At least one of these options must be set.
    Any(Vec<&'static str>),
    /// Exactly one of these options must be given.
    One(Vec<&'static str>),
    /// These two options must not be given together.
    Apart(&'static str, &'static str),
    /// The first option must not be given without at least one of the listed options.
    Needs(&'static str, Vec<&'static str>),
    /// The command must not follow one of these commands.
    After(Vec<&'static str>),
}

impl KsType {
    /// Returns whether pykickstart accepts any text as the value.
    pub(super) fn accepts_any_text(self) -> bool {
        matches!(
            self,
            Self::Text | Self::List | Self::Items | Self::Device | Self::Lenient(_)
        )
    }

    fn of(word: &'static str) -> Self {
        let bounds = |text: &str| {
            let (least, most) = text.split_once('-').unwrap_or_default();
            (
                least.parse().unwrap_or(i64::MIN),
                most.parse().unwrap_or(i64::MAX),
            )
        };
        match word {
            "flag" => Self::Flag,
            "text" => Self::Text,
            "list" => Self::List,
            "items" => Self::Items,
            "device" => Self::Device,
            "boolean" => Self::Boolean,
            "dropped" => Self::Dropped,
            word => match (word.strip_prefix("int"), word.strip_prefix('~')) {
                (Some(text), _) => Self::Int(bounds(text).0, bounds(text).1),
                (None, Some(words)) => Self::Lenient(words),
                (None, None) => Self::Choice(word),
            },
        }
    }
}

impl KsOption {
    fn of(line: &'static str) -> Self {
        let mut words = line.split(' ');
        let names = words.next().unwrap_or_default().split('/').collect();
        let value_type = KsType::of(words.next().unwrap_or_default());
        let rest: Vec<_> = words.collect();
        Self {
            names,
            value_type,
            needed: rest.contains(&"needed"),
            kept: rest.contains(&"kept"),
        }
    }
}

impl KsRule {
    fn of(line: &'static str) -> Option<Self> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let rest: Vec<_> = words.collect();
        Some(match (kind, &rest[..]) {
            ("any", names) => Self::Any(names.to_vec()),
            ("one", names) => Self::One(names.to_vec()),
            ("after", names) => Self::After(names.to_vec()),
            ("apart", [one, other]) => Self::Apart(one, other),
            ("needs", [one, others]) => Self::Needs(one, others.split('|').collect()),
            _ => return None,
        })
    }
}

impl Words {
    fn of(word: &str) -> Self {
        let number = |text: &str| text.parse().unwrap_or(usize::MAX);
        match (word, word.split_once('-')) {
            ("raw", _) => Self::Raw,
            ("*", _) => Self::Any,
            (_, Some((least, most))) => Self::Between(number(least), number(most)),
            (word, None) => Self::Between(number(word), number(word)),
        }
    }
}

/// Every command and section, in the order of the table, with all its names.
static TABLE: LazyLock<Vec<(Vec<&'static str>, Command)>> = LazyLock::new(|| {
    let mut table: Vec<(Vec<&'static str>, Command)> = Vec::new();
    for line in tables::lines(include_str!("../known/kickstart-rhel7.txt")) {
        if let (Some(inner), Some((_, command))) = (line.strip_prefix("  "), table.last_mut()) {
            match inner.strip_prefix("= ") {
                Some(rule) => command.rules.extend(KsRule::of(rule)),
                None => command.options.push(KsOption::of(inner)),
            }
        } else {
            let mut parts = line.splitn(3, ' ');
            let names: Vec<_> = parts.next().unwrap_or_default().split('/').collect();
            let words = Words::of(parts.next().unwrap_or_default());
            let (name, wants) = (names[0], parts.next().unwrap_or_default());
            table.push((
                names,
                Command {
                    name,
                    words,
                    wants,
                    options: Vec::new(),
                    rules: Vec::new(),
                },
            ));
        }
    }
    table
});

/// The commands and sections by name.
static BY_NAME: LazyLock<BTreeMap<&'static str, &'static Command>> = LazyLock::new(|| {
    TABLE
        .iter()
        .flat_map(|(names, command)| names.iter().map(move |name| (*name, command)))
        .collect()
});

/// Returns the command or section with this name.
pub(super) fn command(name: &str) -> Option<&'static Command> {
    BY_NAME.get(name).copied()
}

/// Returns the names of all commands that can be used at the top level of a kickstart.
pub(super) fn commands() -> impl Iterator<Item = &'static str> {
    BY_NAME
        .keys()
        .copied()
        .filter(|name| !name.starts_with('%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_parsed() {
        assert_eq!(commands().count(), 68);
        for (names, command) in TABLE.iter() {
            let has = |name: &str| {
                command
                    .options
                    .iter()
                    .any(|option| option.names.contains(&name))
            };
            for rule in &command.rules {
                let named: Vec<&str> = match rule {
                    KsRule::Any(names) | KsRule::One(names) => names.clone(),
                    KsRule::Apart(one, other) => vec![one, other],
                    KsRule::Needs(one, others) => others.iter().copied().chain([*one]).collect(),
                    KsRule::After(commands) => {
                        assert!(
                            commands.iter().all(|name| BY_NAME.contains_key(name)),
                            "{names:?}"
                        );
                        continue;
                    }
                };
                assert!(named.iter().all(|name| has(name)), "{names:?}: {rule:?}");
            }
            assert!(
                command
                    .options
                    .iter()
                    .all(|option| option.names.iter().all(|name| name.starts_with("--")))
            );
        }
        let text = include_str!("../known/kickstart-rhel7.txt");
        let rules = text.lines().filter(|line| line.starts_with("  = ")).count();
        assert_eq!(
            TABLE
                .iter()
                .map(|(_, command)| command.rules.len())
                .sum::<usize>(),
            rules
        );
        let percent = command("logvol")
            .unwrap()
            .options
            .iter()
            .find(|option| option.names[0] == "--percent")
            .unwrap();
        assert_eq!(percent.value_type, KsType::Int(0, 100));
        assert_eq!(command("part").unwrap().words, Words::Between(1, 1));
    }
}
