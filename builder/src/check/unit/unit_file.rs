//! Reads each unit file once, for the checks of that file and for the checks across units.

use super::accepted_lines::{self, AcceptedLines};
use super::file_name;
use super::parse::{self, JoinedLines};
use super::path::name_of;
use crate::check::file::File;
use crate::check::finding::Finding;

/// A unit file as systemd 219 reads it.
#[derive(Debug)]
pub(in crate::check) struct UnitFile<'a> {
    pub(super) joined: &'a JoinedLines,
    pub(super) accepted: AcceptedLines<'a>,
}

/// Joins the continued lines of a file. Returns `None` if the file is not a unit file.
pub(in crate::check) fn join(file: &File<'_>) -> Option<JoinedLines> {
    name_of(&file.path).map(|_| parse::join(file.text))
}

/// Reads a unit file whose continued lines have already been joined.
pub(in crate::check) fn read_unit<'a>(file: &File<'_>, joined: &'a JoinedLines) -> UnitFile<'a> {
    UnitFile {
        joined,
        accepted: accepted_lines::read(&file.path, &joined.text),
    }
}

/// Checks one unit file individually.
pub(in crate::check) fn check(file: &File<'_>, unit: &UnitFile<'_>) -> Vec<Finding> {
    let mut out = unit.joined.findings.clone();
    out.extend(unit.accepted.findings.iter().cloned());
    out.extend(file_name::check(&file.path, file.text));
    out
}
