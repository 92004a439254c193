//! Checks the names of firewalld's files, and determines the zone of a file (firewalld 0.6.3,
//! core/fw.py, `_loader`; core/io/io_object.py and core/io/zone.py, `check_name`).

use super::element::REFUSED;
use super::schema::Kind;
use crate::check::finding::Finding;

/// The folder of the node's own zones. If the folder has subfolders, firewalld combines the files
/// in each subfolder with the zone that has the subfolder's name.
const ZONES: &str = "/etc/firewalld/zones/";

/// The maximum length of a zone's name.
const LONGEST_ZONE: usize = 17;

/// Returns a finding for each name in the path that firewalld refuses.
pub(super) fn check(path: &str, kind: Kind) -> Vec<Finding> {
    let (Some((_, file)), Some(signs)) = (path.rsplit_once('/'), kind.name_punctuation()) else {
        return Vec::new();
    };
    let folders = folders(path);
    let mut out: Vec<Finding> = folders
        .iter()
        .filter_map(|folder| {
            let message = fault(folder, signs, Some(LONGEST_ZONE))?;
            let finding = Finding::error("firewalld/name", 0..0, message)
                .effect("firewalld loads no zone at all, and the installation ends with an error");
            Some(finding.fix(format!(
                "rename the folder {folder}: its name is the name of the zone"
            )))
        })
        .collect();
    let longest = (kind == Kind::Zone && folders.is_empty()).then_some(LONGEST_ZONE);
    let refused = file
        .strip_suffix(".xml")
        .and_then(|name| fault(name, signs, longest));
    out.extend(refused.map(|message| {
        Finding::error("firewalld/name", 0..0, message)
            .effect(REFUSED)
            .fix("rename the file")
    }));
    out
}

/// Returns the names of the folders between [`ZONES`] and a zone's file.
fn folders(path: &str) -> Vec<&str> {
    let Some((folders, _)) = path
        .strip_prefix(ZONES)
        .and_then(|below| below.rsplit_once('/'))
    else {
        return Vec::new();
    };
    folders.split('/').collect()
}

/// Returns the name of the zone that a file configures.
pub(super) fn zone(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or_default();
    let own = file.strip_suffix(".xml").unwrap_or(file);
    folders(path).last().copied().unwrap_or(own)
}

/// Returns whether the file is in the subfolder of a zone. firewalld ignores the attribute `target`
/// in such a file (core/io/zone.py, `combine`).
pub(super) fn is_part(path: &str) -> bool {
    !folders(path).is_empty()
}

/// Describes why firewalld refuses a name. `longest` is the maximum length, if there is one.
fn fault(name: &str, signs: &str, longest: Option<usize>) -> Option<String> {
    let is_valid = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || signs.contains(c));
    match longest {
        _ if !is_valid => Some(format!(
            "`{name}` is not a valid name: only letters, digits and {signs} are allowed"
        )),
        Some(longest) if name.len() > longest => Some(format!(
            "the zone's name has {} characters, but at most {longest} are allowed",
            name.len()
        )),
        _ => None,
    }
}
