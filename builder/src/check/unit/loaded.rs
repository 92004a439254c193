//! A unit as systemd 219 loads it: the lines of its own file, and those of its drop-ins.

use std::collections::BTreeMap;

use super::assignment::Assignment;
use crate::check::text::TextSpan;

/// A piece of text, and the index of the file that contains it.
pub(super) type LocatedSpan<'a> = (usize, TextSpan<'a>);

/// A unit, with its drop-ins.
#[derive(Debug, Default)]
pub(super) struct Unit<'a> {
    /// The section headers, each with the file that contains it.
    pub(super) sections: Vec<LocatedSpan<'a>>,
    /// The lines that systemd 219 accepts, in the order in which systemd reads them, each with its
    /// file.
    pub(super) lines: Vec<(usize, Line<'a>)>,
    /// The index of the unit's own file. `None` means that only drop-ins are known.
    pub(super) own: Option<usize>,
    /// Whether systemd 219 refuses or masks the unit because of the unit's own file.
    pub(super) refused_or_masked: bool,
    /// `Some` if systemd 219 drops the last line of the unit's own file, because that line ends
    /// with a backslash. Contains the index of the file and the position of the backslash.
    pub(super) dropped: Option<(usize, std::ops::Range<usize>)>,
}

impl<'a> Unit<'a> {
    /// Returns a directive's lines after its last reset, or all its lines if none is a reset. A
    /// line without a value is a reset.
    pub(super) fn all(&self, section: &str, key: &str) -> Vec<(usize, Line<'a>)> {
        self.since_reset(section, &[key])
    }

    /// Returns the lines of several directives after their last reset, or all their lines if none
    /// is a reset. A line without a value in any of these directives resets all of them.
    pub(super) fn since_reset(&self, section: &str, keys: &[&str]) -> Vec<(usize, Line<'a>)> {
        let of_keys = |(_, line): &&(usize, Line<'_>)| {
            line.assignment.section.text == section && keys.contains(&line.assignment.key.text)
        };
        let lines: Vec<_> = self.lines.iter().filter(of_keys).copied().collect();
        let reset = lines
            .iter()
            .rposition(|(_, line)| line.assignment.value.text.is_empty());
        lines[reset.map_or(0, |at| at + 1)..].to_vec()
    }

    /// Returns the last value of a directive.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<LocatedSpan<'a>> {
        self.all(section, key)
            .pop()
            .map(|(file, line)| (file, line.assignment.value))
    }

    /// Returns the unit that a directive such as `Unit=` of a timer names first. systemd 219 ignores
    /// all further values (load-fragment.c, `config_parse_trigger_unit`).
    pub(super) fn trigger(&self, section: &str, key: &str) -> Option<LocatedSpan<'a>> {
        self.words(section, key).next()
    }

    /// Returns the words of all values of a dependency directive. A line without a value resets
    /// other directives, but not a dependency directive.
    pub(super) fn words(&self, section: &str, key: &str) -> impl Iterator<Item = LocatedSpan<'a>> {
        let matching = self.lines.iter().filter(move |(_, line)| {
            line.assignment.section.text == section && line.assignment.key.text == key
        });
        matching
            .flat_map(|(file, line)| line.assignment.value.words().map(move |word| (*file, word)))
    }

    /// Returns the last value of a boolean directive.
    pub(super) fn switch(&self, section: &str, key: &str) -> Option<bool> {
        crate::check::systemd::number::boolean(self.last(section, key)?.1.text)
    }

    /// Returns the first header of a section in the files of the unit.
    pub(super) fn section(&self, name: &str) -> Option<LocatedSpan<'a>> {
        self.sections
            .iter()
            .find(|(_, section)| section.text == name)
            .copied()
    }
}

/// A line of a unit file, and the number of its parts that systemd 219 accepts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) assignment: Assignment<'a>,
    /// The number of commands or words, or 1 for a value of any other type. 0 means that a value of
    /// commands or words is empty, and resets the directive.
    pub(super) accepted_count: usize,
}

/// The units of a node, by their names.
pub(super) type Units<'a> = BTreeMap<&'a str, Unit<'a>>;
