//! Checks unit files as RHEL's systemd 219 reads them, including Red Hat's back-ports.

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

use recipes::unit;

use super::file::File;
pub(super) use cross_checks::cross_check;
pub(super) use path::name_of;
pub(super) use unit_file::{UnitFile, check, join, read_unit};

/// Returns the name of a unit, if its file is in a folder where systemd looks for units, and if the
/// unit can be enabled and started. The kickstart applies the presets to these units.
pub(super) fn startable<'a>(file: &'a File<'_>) -> Option<&'a str> {
    let name = unit::in_folder(file.path.strip_prefix('/')?)?;
    (!name.contains('/') && unit::can_start(name)).then_some(name)
}

/// Returns the name of a unit, if its file is in /etc/systemd/system or /usr/lib/systemd/system and
/// has an `[Install]` section, and if the name contains no @.
pub(super) fn installable<'a>(file: &'a File<'_>) -> Option<&'a str> {
    let name = unit::in_folder(file.path.strip_prefix('/')?)?;
    let is_unit = !name.contains('/') && name_of(&file.path) == Some(name);
    // A template is enabled through one of its instances.
    (is_unit && !name.contains('@') && file.text.lines().any(|line| line.trim() == "[Install]"))
        .then_some(name)
}
