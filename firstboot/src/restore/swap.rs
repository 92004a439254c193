//! Swaps etcd's data with two renames. From the folders on the disk, firstboot determines which
//! renames are complete, so it can finish the swap after a power cut.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::files::{self, DesiredDir, ROOT};
use crate::journal::DataSwap;
use crate::paths;

/// The renames of a swap that have not been made yet. A swap first moves etcd's data to the
/// archive, and then moves the new data to the path of etcd's data.
#[derive(Debug, PartialEq, Eq)]
enum RemainingRenames {
    Both,
    Second,
    Nothing,
}

/// Determines the remaining renames from the existence of three folders: the new data at its first
/// path, etcd's data, and the archived data.
fn remaining_renames(
    from: bool,
    data: bool,
    archive_to: Option<bool>,
) -> Result<RemainingRenames, &'static str> {
    match (from, data, archive_to) {
        (true, true, Some(false)) => Ok(RemainingRenames::Both),
        (true, false, _) => Ok(RemainingRenames::Second),
        (false, true, None | Some(true)) => Ok(RemainingRenames::Nothing),
        (true, true, None) => {
            Err("there was no old data when the restore began, but now there is data")
        }
        (true, true, Some(true)) => Err("the old data is archived, but other data is in its place"),
        (false, true, Some(false)) => {
            Err("the new data is missing, and the old data is still in its place")
        }
        (false, false, _) => Err("the new data is missing"),
    }
}

pub(super) fn finish(data_swap: &DataSwap) -> Result<()> {
    finish_at(
        data_swap,
        Path::new(paths::DATA),
        Path::new(paths::ARCHIVE),
        ROOT,
    )
}

fn finish_at(data_swap: &DataSwap, data: &Path, archive: &Path, owner: (u32, u32)) -> Result<()> {
    let DataSwap {
        from, archive_to, ..
    } = data_swap;
    let archived = archive_to.as_deref().map(files::exists).transpose()?;
    let remaining_renames =
        match remaining_renames(files::exists(from)?, files::exists(data)?, archived) {
            Ok(remaining_renames) => remaining_renames,
            Err(why) => bail!(
                "cannot replace {} with {}: {why}",
                data.display(),
                from.display()
            ),
        };
    if remaining_renames == RemainingRenames::Both {
        DesiredDir::new(archive, 0o700, owner).make()?;
        let archive_to = archive_to
            .as_ref()
            .context("a bug: the swap has no path for the old data")?;
        files::rename(data, archive_to)?;
    }
    if remaining_renames != RemainingRenames::Nothing {
        files::rename(from, data)?;
    }
    Ok(())
}

/// After an error, moves the new data back to its first path, and the old data back into its place.
pub(super) fn undo(data_swap: &DataSwap) -> Result<()> {
    undo_at(data_swap, Path::new(paths::DATA))
}

fn undo_at(data_swap: &DataSwap, data: &Path) -> Result<()> {
    let DataSwap {
        from, archive_to, ..
    } = data_swap;
    let moved = archive_to.as_deref().map_or(Ok(true), files::exists)?;
    if moved && files::exists(data)? && !files::exists(from)? {
        files::rename(data, from)?;
    }
    match archive_to {
        Some(archive_to) if !files::exists(data)? && files::exists(archive_to)? => {
            files::rename(archive_to, data)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use std::path::PathBuf;

    use super::*;

    fn swap(from: PathBuf, archive_to: Option<PathBuf>) -> DataSwap {
        DataSwap {
            from,
            archive_to,
            token: String::new(),
            members: vec![],
            cluster: 1,
            member: None,
            revision: 0,
            data: None,
        }
    }

    /// Power may fail before, between or after the renames. Every intermediate state must lead to
    /// the same result.
    #[test]
    fn an_interrupted_swap_can_be_finished_or_undone() {
        let owner = (
            nix::unistd::Uid::current().as_raw(),
            nix::unistd::Gid::current().as_raw(),
        );
        for had_data in [true, false] {
            for renames in 0..=2 {
                for back in [false, true] {
                    let folder = tempfile::tempdir().unwrap();
                    let at = |name: &str| folder.path().join(name);
                    for (name, content) in [("new", "new"), ("data", "old")] {
                        if name == "new" || had_data {
                            fs::create_dir(at(name)).unwrap();
                            fs::write(at(name).join("file"), content).unwrap();
                        }
                    }
                    fs::create_dir(at("aside")).unwrap();
                    let data_swap = swap(at("new"), had_data.then(|| at("aside/old")));
                    if renames >= 1 && had_data {
                        fs::rename(at("data"), at("aside/old")).unwrap();
                    }
                    if renames == 2 {
                        fs::rename(at("new"), at("data")).unwrap();
                    }
                    let read = |path: &str| fs::read_to_string(at(path)).ok();
                    if back {
                        undo_at(&data_swap, &at("data")).unwrap();
                        assert_eq!(read("data/file").as_deref(), had_data.then_some("old"));
                        assert_eq!(read("new/file").as_deref(), Some("new"));
                    } else {
                        for _ in 0..2 {
                            finish_at(&data_swap, &at("data"), &at("aside"), owner).unwrap();
                            assert_eq!(read("data/file").as_deref(), Some("new"));
                            assert_eq!(
                                read("aside/old/file").as_deref(),
                                had_data.then_some("old")
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn old_data_stays_in_place_if_the_new_data_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("data")).unwrap();
        let data_swap = swap(at("new"), Some(at("aside/old")));
        assert!(finish_at(&data_swap, &at("data"), &at("aside"), (0, 0)).is_err());
        undo_at(&data_swap, &at("data")).unwrap();
        assert!(at("data").exists());
    }

    #[test]
    fn no_rename_replaces_a_folder() {
        for from in [true, false] {
            for data in [true, false] {
                for archive_to in [None, Some(true), Some(false)] {
                    let remaining_renames = remaining_renames(from, data, archive_to);
                    if remaining_renames == Ok(RemainingRenames::Both) {
                        assert_eq!((from, data, archive_to), (true, true, Some(false)));
                    }
                    if remaining_renames == Ok(RemainingRenames::Second) {
                        assert!(from && !data);
                    }
                }
            }
        }
    }
}
