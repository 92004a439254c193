//! Reads the table of directives and options in known/chrony-3.4.txt.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::scan::Scan;
use crate::check::tables;

/// The form of the text after a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DirectiveSyntax {
    /// Words that match one of these lists. Each list contains one conversion of sscanf for each
    /// word.
    Words(Vec<Vec<Scan>>),
    /// A fixed number of words, and then options from a group.
    Options(usize, &'static str),
    /// One of these words.
    One(&'static str),
    /// Any number of these words.
    Any(&'static str),
    Ignored,
    Access,
    Address,
    Socket,
    Broadcast,
    InitStepSlew,
}

impl DirectiveSyntax {
    fn of(text: &'static str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match kind {
            "=" => Self::Words(
                rest.split(" | ")
                    .map(|words| words.split_whitespace().map(Scan::of).collect())
                    .collect(),
            ),
            "options" => {
                let (count, group) = rest.split_once(' ')?;
                Self::Options(count.parse().ok()?, group)
            }
            "word" => Self::One(rest),
            "words" => Self::Any(rest),
            "ignored" => Self::Ignored,
            "access" => Self::Access,
            "address" => Self::Address,
            "socket" => Self::Socket,
            "broadcast" => Self::Broadcast,
            "initstepslew" => Self::InitStepSlew,
            _ => return None,
        })
    }
}

/// The options of a group, each with the form of its value, or `None` if the option has no value.
pub(super) type Options = BTreeMap<&'static str, Option<Scan>>;

/// The directives, and the groups of options.
#[derive(Debug, Default)]
struct Table {
    directives: BTreeMap<&'static str, DirectiveSyntax>,
    groups: BTreeMap<&'static str, Options>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::default();
    let mut group = None;
    for line in tables::lines(include_str!("../known/chrony-3.4.txt")) {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (line.strip_prefix('['), group) {
            (Some(name), _) => group = Some(name.trim_end_matches(']')),
            (None, Some(group)) => {
                table
                    .groups
                    .entry(group)
                    .or_default()
                    .insert(name, (rest != "-").then(|| Scan::of(rest)));
            }
            (None, None) => {
                table
                    .directives
                    .extend(DirectiveSyntax::of(rest).map(|syntax| (name, syntax)));
            }
        }
    }
    table
});

/// Returns the directives, each with the form of the text after it.
pub(super) fn directives() -> &'static BTreeMap<&'static str, DirectiveSyntax> {
    &TABLE.directives
}

pub(super) fn options(group: &str) -> Option<&'static Options> {
    TABLE.groups.get(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_parsed() {
        let text = include_str!("../known/chrony-3.4.txt");
        let lines = tables::lines(text).count();
        let options: usize = TABLE.groups.values().map(BTreeMap::len).sum();
        assert_eq!(directives().len() + options + TABLE.groups.len(), lines);
        for syntax in directives().values() {
            if let DirectiveSyntax::Options(_, group) = syntax {
                assert!(super::options(group).is_some(), "{group}");
            }
        }
        assert_eq!(
            directives()["makestep"],
            DirectiveSyntax::Words(vec![vec![Scan::Float, Scan::of("d")]])
        );
        assert_eq!(directives()["manual"], DirectiveSyntax::Words(vec![vec![]]));
    }
}
