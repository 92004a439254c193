//! Checks unit files as RHEL's systemd 219, which contains back-ports, reads them.

mod accepted_lines;
mod assignment;
mod bounding;
mod capability;
mod context;
mod cpus;
mod cross_checks;
mod environment;
mod exec;
mod expanded;
mod file_name;
mod hint;
mod list;
mod loaded;
mod ordering_cycles;
mod parse;
mod path;
mod plain;
mod refusal;
mod service;
mod split;
pub(super) mod systemd_conf;
#[cfg(test)]
mod tests;
mod unit_file;
mod value;
mod value_error;
mod verify;

use super::file::File;
pub(super) use cross_checks::cross_check;
pub(super) use path::name_of;
pub(super) use unit_file::{UnitFile, check, join, read_unit};

/// Returns the name of the unit if a preset can enable it: the file is in /etc/systemd/system or
/// /usr/lib/systemd/system, it has an `[Install]` section, and its name contains no @.
pub(super) fn installable<'a>(file: &'a File<'_>) -> Option<&'a str> {
    let name = file
        .path
        .strip_prefix("/etc/systemd/system/")
        .or_else(|| file.path.strip_prefix("/usr/lib/systemd/system/"))?;
    let is_unit = !name.contains('/') && name_of(&file.path) == Some(name);
    // A template is enabled through one of its instances.
    (is_unit && !name.contains('@') && file.text.lines().any(|line| line.trim() == "[Install]"))
        .then_some(name)
}
