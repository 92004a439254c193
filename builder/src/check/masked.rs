//! Finds files that another file of the same name masks. systemd 219, udev, kmod and firewalld
//! 0.6.3 each read several folders. Of two files with the same name, they read only the file in the
//! folder that they search first (src/shared/conf-files.c, files_add; src/shared/path-lookup.c;
//! firewalld, core/fw.py, _loader).

use super::file::File;
use super::finding::Finding;

/// The folders that the programs search, in this order.
const ROOTS: [&str; 4] = ["/etc/", "/run/", "/usr/local/lib/", "/usr/lib/"];

/// The folders below each of [`ROOTS`] in which a file can mask another file.
const FAMILIES: [&str; 8] = [
    "binfmt.d/",
    "firewalld/",
    "modprobe.d/",
    "modules-load.d/",
    "sysctl.d/",
    "systemd/",
    "tmpfiles.d/",
    "udev/rules.d/",
];

/// Splits a path into the position of its folder in the search order, and the rest of the path.
fn split(path: &str) -> Option<(usize, &str)> {
    let (rank, rest) = ROOTS
        .iter()
        .enumerate()
        .find_map(|(rank, root)| Some((rank, path.strip_prefix(root)?)))?;
    FAMILIES
        .iter()
        .any(|family| rest.starts_with(family))
        .then_some((rank, rest))
}

/// Returns the file that masks the file at a path.
pub(super) fn masks<'f, 'a>(path: &str, files: &'f [File<'a>]) -> Option<&'f File<'a>> {
    let (rank, rest) = split(path)?;
    files
        .iter()
        .find(|file| split(&file.path).is_some_and(|(other, own)| own == rest && other < rank))
}

/// Reports each file that another file masks.
pub(super) fn cross_check(files: &[File<'_>]) -> Vec<(usize, Finding)> {
    let finding = |(index, file): (usize, &File<'_>)| {
        let other = masks(&file.path, files)?;
        let message = format!("{} has the same name and masks this file", other.path);
        let finding = Finding::error("place/masked", 0..0, message)
            .effect("nothing reads this file")
            .fix(format!("rename {}", other.path));
        Some((index, finding))
    };
    files.iter().enumerate().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_the_same_name_in_an_earlier_folder_masks_a_file() {
        let masked = |path: &str, other: &str| {
            let file = |path: &str| File {
                shown: path.to_owned(),
                path: path.to_owned(),
                text: "",
                mode: None,
            };
            masks(path, &[file(path), file(other)]).is_some()
        };
        for (path, other) in [
            ("/usr/lib/tmpfiles.d/a.conf", "/etc/tmpfiles.d/a.conf"),
            ("/usr/lib/sysctl.d/a.conf", "/usr/local/lib/sysctl.d/a.conf"),
            (
                "/usr/lib/systemd/system-preset/10-a.preset",
                "/etc/systemd/system-preset/10-a.preset",
            ),
            (
                "/usr/lib/systemd/system/a.service.d/b.conf",
                "/etc/systemd/system/a.service.d/b.conf",
            ),
        ] {
            assert!(masked(path, other), "{path} {other}");
            assert!(!masked(other, path), "{other} {path}");
        }
        for (path, other) in [
            ("/usr/lib/tmpfiles.d/a.conf", "/etc/sysctl.d/a.conf"),
            ("/usr/lib/tmpfiles.d/a.conf", "/etc/tmpfiles.d/b.conf"),
            ("/usr/lib/own/a.conf", "/etc/own/a.conf"),
        ] {
            assert!(!masked(path, other), "{path} {other}");
        }
    }
}
