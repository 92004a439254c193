//! Determines the unit of a file from the file's path.

use crate::check::systemd::name;

/// The unit types that have files, each with the section that is specific to the type.
const KINDS: [(&str, &str); 12] = [
    ("service", "Service"),
    ("socket", "Socket"),
    ("timer", "Timer"),
    ("path", "Path"),
    ("mount", "Mount"),
    ("automount", "Automount"),
    ("swap", "Swap"),
    ("slice", "Slice"),
    ("target", "Target"),
    ("device", "Device"),
    ("scope", "Scope"),
    ("busname", "BusName"),
];

/// Returns the name of the unit that a unit file defines or that a drop-in changes.
pub(in crate::check) fn name_of(path: &str) -> Option<&str> {
    let mut names = path.rsplit('/');
    let name = names.next()?;
    let is_unit = |name: &str| section_of(name).is_some();
    if is_unit(name) {
        return Some(name);
    }
    let unit = names.next()?.strip_suffix(".d")?;
    (is_unit(unit) && name.rsplit_once('.').is_some_and(|(_, own)| own == "conf")).then_some(unit)
}

/// Returns the section that is specific to the type of a unit.
pub(super) fn section_of(name: &str) -> Option<&'static str> {
    let (_, kind) = name.rsplit_once('.')?;
    KINDS
        .iter()
        .find(|(own, _)| *own == kind)
        .map(|(_, section)| *section)
}

/// Returns whether a file is a drop-in of a unit, and not the unit's own file.
pub(super) fn is_drop_in(path: &str) -> bool {
    path.rsplit('/')
        .next()
        .is_some_and(|name| Some(name) != name_of(path))
}

/// Returns whether systemd 219 loads units with this name.
pub(super) fn is_loadable(id: &str) -> bool {
    let id = if name::is_template(id) {
        name::with_instance(id, "x")
    } else {
        id.to_owned()
    };
    name::is_loadable(&id)
}
