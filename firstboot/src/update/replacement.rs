//! Replaces the files of one image with the files of another image, one by one, and can restore the
//! old files.
//!
//! Before firstboot replaces or removes a file, the file gets a second name in the folder of the
//! previous image. A single rename then replaces the file, so at any moment, the file's path refers
//! either to the complete old file or to the complete new file. After a power cut at any point,
//! firstboot can restore the old files from the stored plan and the kept files, any number of
//! times.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use recipes::ImageFileList;

use super::file_changes::{FileChange, Kind, UNLISTED, changes};
use super::state::Replacement;
use crate::files::{self, DesiredDir, ROOT};
use crate::paths;

#[derive(Debug)]
pub(super) struct Replacer {
    /// The root of the files in use.
    root: PathBuf,
    /// The folder that contains the kept files.
    previous: PathBuf,
}

impl Replacer {
    /// Returns the replacer for this node's files.
    pub(super) fn of_node() -> Self {
        Self {
            root: PathBuf::from("/"),
            previous: PathBuf::from(paths::UPDATE_PREVIOUS),
        }
    }

    fn live_path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn backup_path(&self, path: &str) -> PathBuf {
        self.previous.join(path)
    }

    /// Plans the replacement according to the files on the disk, because a file that is new in the
    /// image may already exist in the base system.
    pub(super) fn plan(&self, old: &ImageFileList, new: &ImageFileList) -> Result<Replacement> {
        let mut list = Vec::new();
        for FileChange { path, kind } in changes(old, new) {
            let there = files::look(&self.live_path(&path))?;
            if let Some(there) = there.filter(|there| there.kind != files::Kind::File) {
                anyhow::bail!(
                    "/{path} is {}, but the image has a file at this path. Move the existing entry \
                     away",
                    there.kind
                );
            }
            match (kind, there.is_some()) {
                (Kind::Removed, false) => {}
                (Kind::Removed, true) => list.push(FileChange {
                    path,
                    kind: Kind::Removed,
                }),
                (_, true) => list.push(FileChange {
                    path,
                    kind: Kind::Replaced,
                }),
                (_, false) => list.push(FileChange {
                    path,
                    kind: Kind::Added,
                }),
            }
        }
        // Replace the file list after the other files, and the installation marker last.
        list.extend(UNLISTED.map(|path| FileChange {
            path: path.to_owned(),
            kind: Kind::Replaced,
        }));
        let added = list
            .iter()
            .filter(|change| change.kind == Kind::Added)
            .map(|change| &*change.path);
        let folders = self.new_folders(added)?;
        Ok(Replacement {
            files: list,
            folders,
            ..Replacement::default()
        })
    }

    /// Returns the missing folders that these files need. A folder precedes the folders in it.
    fn new_folders<'a>(&self, paths: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
        let mut folders = Vec::new();
        for path in paths {
            let above = path.match_indices('/').map(|(at, _)| &path[..at]);
            for folder in above {
                if !folders.iter().any(|known| known == folder)
                    && !files::exists(&self.live_path(folder))?
                {
                    folders.push(folder.to_owned());
                }
            }
        }
        Ok(folders)
    }

    /// Removes the files that were kept earlier, and durably gives a second name to each file that
    /// the replacement will replace or remove. Does not change the system yet.
    pub(super) fn keep_previous(&self, replacement: &Replacement) -> Result<()> {
        files::remove_all(&self.previous)?;
        DesiredDir::new(&self.previous, 0o700, ROOT).make()?;
        for change in replacement
            .files
            .iter()
            .filter(|change| change.kind != Kind::Added)
        {
            let kept = self.backup_path(&change.path);
            let folder = kept
                .parent()
                .context("the backup path of a file has no folder")?;
            DesiredDir::new(folder, 0o700, ROOT).make()?;
            files::install::install(&self.live_path(&change.path), &kept)?;
        }
        Ok(())
    }

    /// Replaces all files. If the replacement is interrupted, the caller must call
    /// [`Replacer::revert`] afterwards.
    pub(super) fn replace(&self, replacement: &Replacement, new: &Path) -> Result<()> {
        for folder in &replacement.folders {
            let there = files::look(&new.join(folder))?
                .with_context(|| format!("the image does not contain the folder {folder}"))?;
            DesiredDir::new(self.live_path(folder), there.mode, there.owner).make()?;
        }
        for FileChange { path, kind } in &replacement.files {
            let place = self.live_path(path);
            match kind {
                Kind::Removed => self.remove(path)?,
                Kind::Added | Kind::Replaced => files::install::install(&new.join(path), &place)?,
            }
        }
        Ok(())
    }

    /// Restores all kept files, and removes the new files and those new folders that are empty. The
    /// operation can be repeated.
    pub(super) fn revert(&self, replacement: &Replacement) -> Result<()> {
        for FileChange { path, kind } in replacement.files.iter().rev() {
            files::remove_unfinished(&self.live_path(path))?;
            if *kind == Kind::Added {
                self.remove(path)?;
            } else {
                self.restore(path)?;
            }
        }
        for folder in replacement.folders.iter().rev() {
            files::install::remove_if_empty(&self.live_path(folder))?;
        }
        Ok(())
    }

    /// Durably restores a kept file. If the replacement has not changed the file, does not copy it,
    /// because its file system may be full or read-only.
    fn restore(&self, path: &str) -> Result<()> {
        let (kept, live) = (self.backup_path(path), self.live_path(path));
        if !files::install::is_equal(&kept, &live)? {
            return files::install::install(&kept, &live);
        }
        // An interrupted run may have restored the file without flushing its folder.
        let folder = live.parent().unwrap_or(&self.root);
        files::sync(folder).with_context(|| format!("cannot flush {}", folder.display()))
    }

    /// Removes a file durably. The file's folder may already be missing.
    fn remove(&self, path: &str) -> Result<()> {
        let place = self.live_path(path);
        let folder = place.parent().unwrap_or(&self.root).to_owned();
        if !files::exists(&folder)? {
            return Ok(());
        }
        files::remove(&place)?;
        files::sync(&folder).with_context(|| format!("cannot flush {}", folder.display()))
    }

    /// Returns the paths that need SELinux labels: the files and folders of the replacement that
    /// exist after the replacement. If `back` is set, returns the paths that exist after the
    /// rollback of the replacement.
    pub(super) fn present(&self, replacement: &Replacement, back: bool) -> Vec<PathBuf> {
        let gone = if back { Kind::Added } else { Kind::Removed };
        let folders = replacement
            .folders
            .iter()
            .filter(|_| !back)
            .map(String::as_str);
        let files = replacement
            .files
            .iter()
            .filter(|change| change.kind != gone)
            .map(|change| change.path.as_str());
        folders
            .chain(files)
            .map(|path| self.live_path(path))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use recipes::{ImageFile, Sha256};

    use super::*;

    type Files = BTreeMap<String, (Vec<u8>, u32)>;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn all(root: &Path) -> Files {
        fn walk(root: &Path, folder: &Path, found: &mut Files) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                let mode = fs::symlink_metadata(&path).unwrap().mode();
                if path.is_dir() {
                    found.insert(format!("{name}/"), (Vec::new(), mode));
                    walk(root, &path, found);
                } else {
                    found.insert(name, (fs::read(&path).unwrap(), mode));
                }
            }
        }
        let mut found = Files::new();
        walk(root, root, &mut found);
        found
    }

    fn file_list(files: &[(&str, &str)]) -> ImageFileList {
        let file = |(path, content): &(&str, &str)| ImageFile {
            path: (*path).to_owned(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: content.len() as u64,
            sha256: Sha256::of(content.as_bytes()),
            mutable: false,
        };
        ImageFileList {
            files: files.iter().map(file).collect(),
        }
    }

    const OLD: [(&str, &str); 4] = [
        ("etc/a", "old a"),
        ("etc/b", "b"),
        ("etc/gone", "gone"),
        ("usr/c", "old c"),
    ];
    const NEW: [(&str, &str); 5] = [
        ("etc/a", "new a"),
        ("etc/b", "b"),
        ("etc/base", "ours"),
        ("etc/own/deep/d", "d"),
        ("usr/c", "new c"),
    ];

    /// Creates a node with the old image. The base system already has a file that the new image
    /// adds.
    fn node(folder: &Path) -> (Replacer, PathBuf) {
        let replacer = Replacer {
            root: folder.join("root"),
            previous: folder.join("state/before"),
        };
        let new = folder.join("state/new");
        let unlisted = |word| UNLISTED.map(|path| (path, word));
        write(&replacer.root, &OLD);
        write(&replacer.root, &unlisted("old"));
        write(&replacer.root, &[("etc/base", "the base system's")]);
        write(&new, &NEW);
        write(&new, &unlisted("new"));
        (replacer, new)
    }

    #[test]
    fn a_replacement_installs_the_new_files_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let (replacer, new) = node(folder.path());
        let replacement = replacer.plan(&file_list(&OLD), &file_list(&NEW)).unwrap();
        replacer.keep_previous(&replacement).unwrap();
        replacer.replace(&replacement, &new).unwrap();
        assert_eq!(all(&replacer.root), all(&new));
        for path in replacer.present(&replacement, false) {
            assert!(path.exists(), "{}", path.display());
        }
    }

    /// A kept file on another file system is a copy. If the file system with the original file is
    /// full, the copy cannot be copied back.
    #[test]
    fn a_file_that_was_not_replaced_is_not_copied_back() {
        let folder = tempfile::tempdir().unwrap();
        let (replacer, _) = node(folder.path());
        let replacement = replacer.plan(&file_list(&OLD), &file_list(&NEW)).unwrap();
        replacer.keep_previous(&replacement).unwrap();
        let (kept, live) = (replacer.backup_path("etc/a"), replacer.live_path("etc/a"));
        let copy = || {
            fs::remove_file(&kept).unwrap();
            fs::copy(&live, &kept).unwrap();
        };
        let inode = || fs::metadata(&live).unwrap().ino();
        copy();
        let before = inode();
        replacer.revert(&replacement).unwrap();
        assert_eq!(inode(), before, "the file was copied");
        for changed in ["new a", "longer"] {
            copy();
            fs::write(&live, changed).unwrap();
            replacer.revert(&replacement).unwrap();
            assert_eq!(fs::read_to_string(&live).unwrap(), "old a");
        }
        copy();
        fs::set_permissions(&live, fs::Permissions::from_mode(0o600)).unwrap();
        replacer.revert(&replacement).unwrap();
        assert_eq!(fs::metadata(&live).unwrap().mode() & 0o777, 0o644);
    }

    /// In this test, power fails after any number of steps, and also while files are restored.
    #[test]
    fn an_interrupted_replacement_can_always_be_undone() {
        let steps = {
            let folder = tempfile::tempdir().unwrap();
            let (replacer, _) = node(folder.path());
            replacer
                .plan(&file_list(&OLD), &file_list(&NEW))
                .unwrap()
                .files
                .len()
        };
        for done in 0..=steps {
            for undone in [0, 1, steps / 2, steps] {
                let folder = tempfile::tempdir().unwrap();
                let (replacer, new) = node(folder.path());
                let before = all(&replacer.root);
                let replacement = replacer.plan(&file_list(&OLD), &file_list(&NEW)).unwrap();
                replacer.keep_previous(&replacement).unwrap();
                assert_eq!(
                    all(&replacer.root),
                    before,
                    "keeping the previous files changed the node's files"
                );
                let first = Replacement {
                    files: replacement.files[..done].to_vec(),
                    ..replacement.clone()
                };
                replacer.replace(&first, &new).unwrap();
                // Create an unfinished temporary file for the next file, as a power cut might leave
                // it.
                if let Some(next) = replacement
                    .files
                    .get(done)
                    .filter(|next| next.kind != Kind::Removed)
                {
                    let place = replacer.live_path(&next.path);
                    let temp = place
                        .with_file_name(format!(".{}.new", place.file_name().unwrap().display()));
                    fs::write(temp, "half").unwrap();
                }
                let last = Replacement {
                    files: replacement.files[steps - undone..].to_vec(),
                    ..replacement.clone()
                };
                replacer.revert(&last).unwrap();
                replacer.revert(&replacement).unwrap();
                assert_eq!(
                    all(&replacer.root),
                    before,
                    "{done} of {steps} files replaced, {undone} files already restored"
                );
                for path in replacer.present(&replacement, true) {
                    assert!(path.exists(), "{}", path.display());
                }
            }
        }
    }
}
