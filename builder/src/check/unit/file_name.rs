//! Checks the name of a unit file, and whether the file is empty.

use super::path::{is_drop_in, is_loadable, name_of};
use crate::check::finding::Finding;
use crate::check::systemd::name;

/// Checks that systemd 219 loads a unit of this name, and that the unit's own file is not empty.
pub(super) fn check(path: &str, text: &str) -> Option<Finding> {
    let id = name_of(path)?;
    if !is_loadable(id) {
        let finding = Finding::error(
            "unit/unit-name",
            0..0,
            format!("systemd 219 does not load a unit named `{id}`"),
        );
        return Some(finding.effect("systemd never reads the file").fix(if name::kind_of(id).is_some() {
            "a unit of this type cannot have instances; rename the unit without the @"
        } else {
            "a unit's name consists of letters, digits and :-_.\\@, and does not begin with @; `systemd-escape` encodes other characters"
        }));
    }
    if text.is_empty() && !is_drop_in(path) {
        let finding = Finding::warning("unit/no-effect", 0..0, format!("{path} is empty"));
        return Some(
            finding
                .effect("an empty file masks the unit, so nothing can start it")
                .fix("write the unit, or remove the file"),
        );
    }
    None
}
