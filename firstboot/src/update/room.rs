//! Checks the free space for the files of an update. On the file system of the staged image, the
//! replacement of files only creates hard links. A file on any other file system, such as `/boot`,
//! is copied.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::file_changes::{FileChange, Kind, changes};
use super::source::check_room;
use super::stage::Staged;
use crate::files;
use crate::image_integrity::file_list;

/// The space that a copy can need in addition to its size, because file systems allocate whole
/// blocks.
const BLOCK: u64 = 4096;

/// Checks the free space for a staged image.
///
/// # Errors
/// Returns a "not ready" error if a file system does not have enough free space.
pub(super) fn check_staged(staged: &Staged) -> Result<()> {
    check(&changes(&file_list()?, &staged.file_list), &staged.root)
}

/// Checks the free space for these changes. `staged` is the folder of the new image.
///
/// # Errors
/// Returns a "not ready" error if a file system does not have enough free space.
pub(super) fn check(changes: &[FileChange], staged: &Path) -> Result<()> {
    let device = |path: &Path| Ok(files::look(path)?.map(|there| there.device));
    for (folder, needed) in copies(changes, staged, device)? {
        check_room(&folder, needed)?;
    }
    Ok(())
}

/// Returns one folder for each file system to which files are copied, with the space for all
/// copies. A copy needs this space even if it replaces a file, because the old file remains until
/// the copy is complete. `device` returns the file system of an existing path.
fn copies(
    changes: &[FileChange],
    staged: &Path,
    device: impl Fn(&Path) -> Result<Option<u64>>,
) -> Result<Vec<(PathBuf, u64)>> {
    let mut needed: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    let own = device(staged)?;
    for FileChange { path, kind } in changes {
        if *kind == Kind::Removed {
            continue;
        }
        let target = Path::new("/").join(path);
        let mut found = None;
        for folder in target.ancestors().skip(1) {
            if let Some(device) = device(folder)? {
                found = Some((folder, device));
                break;
            }
        }
        let (folder, on) = found.context("the root directory does not exist")?;
        if Some(on) == own {
            continue;
        }
        let size = files::look(&staged.join(path))?.map_or(0, |there| there.size);
        let (_, sum) = needed.entry(on).or_insert_with(|| (folder.to_owned(), 0));
        *sum += size + BLOCK;
    }
    Ok(needed.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/boot` is not on the file system of `/`, which contains the staged image.
    #[test]
    fn only_copies_to_other_file_systems_need_space() {
        let staged = tempfile::tempdir().unwrap();
        for (path, size) in [
            ("boot/a", 10),
            ("boot/own/b", 20),
            ("etc/c", 40),
            ("boot/d", 80),
        ] {
            let path = staged.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; size]).unwrap();
        }
        let device = |path: &Path| {
            Ok(match path.to_str().unwrap() {
                "/boot" => Some(2),
                "/boot/own" => None,
                _ => Some(1),
            })
        };
        let change = |path: &str, kind| FileChange {
            path: path.to_owned(),
            kind,
        };
        let changes = [
            change("boot/a", Kind::Replaced),
            change("boot/own/b", Kind::Added),
            change("etc/c", Kind::Replaced),
            change("boot/d", Kind::Removed),
        ];
        assert_eq!(
            copies(&changes, staged.path(), device).unwrap(),
            [(PathBuf::from("/boot"), 30 + 2 * BLOCK)]
        );
        let error = check_room(staged.path(), u64::MAX).unwrap_err();
        assert!(error.to_string().contains("[update-no-room]"), "{error}");
    }
}
