//! A file system in two versions: the version that programs see, and the version that would remain
//! after a power cut.
//!
//! The file system is as strict as POSIX allows, and stricter than the usual file systems: it loses
//! all data of a file or folder that was not flushed by an fsync of that file or folder. The only
//! exception is a rename between two folders, which is atomic, as on journalling file systems.
//!
//! If names become durable in order ([`Tree::in_order`]), the file system behaves like XFS and
//! ext4. These file systems write names to a log, so any flush includes all earlier names. etcd
//! relies on that order, because it flushes its files, but only a few of its folders.

mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;

pub(super) use content::{Answer, Body, Content};

/// The inode of the root, as FUSE requires.
pub(super) const ROOT: u64 = 1;

/// The effect of a power cut on data that was not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing is lost.
    Nothing,
    /// All unflushed data is lost, for each file and each folder separately.
    Unflushed,
    /// Names, modes and owners are kept, but unflushed contents are lost, so a renamed file that
    /// was never flushed is empty. XFS is known for this failure.
    Contents,
    /// Names, modes, owners and the new lengths of files are kept, with the old sectors, or zeros,
    /// in place of the lost contents.
    Zeros,
    /// Each changed sector is either new or old, at random. The names are either all new or all
    /// old.
    Torn(u64),
}

#[derive(Debug, Clone)]
struct Inode {
    now: Content,
    /// The flushed content, or `None` if the inode was never flushed.
    kept: Option<Content>,
}

/// A rename between two folders, neither of which has been flushed since the rename.
#[derive(Debug, Clone)]
struct Move {
    from: (u64, OsString),
    to: (u64, OsString),
}

/// The file system.
#[derive(Debug, Clone)]
pub struct Tree {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    moves: Vec<Move>,
    in_order: bool,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Content::folder(0o755, (0, 0));
        let root = Inode {
            kept: Some(root.clone()),
            now: root,
        };
        Self {
            inodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            moves: Vec::new(),
            in_order: false,
        }
    }
}

impl Tree {
    /// Makes an empty file system in which names become durable in order.
    pub fn in_order() -> Self {
        Self {
            in_order: true,
            ..Self::default()
        }
    }

    /// Copies a folder from the test machine, with its files and subfolders, into the root under
    /// this name, and flushes everything.
    pub fn take_in(&mut self, folder: &Path, name: &str) -> Result<()> {
        self.copy(folder, ROOT, OsStr::new(name))?;
        self.flush_all();
        Ok(())
    }

    fn copy(&mut self, from: &Path, into: u64, name: &OsStr) -> Result<()> {
        let meta = fs::symlink_metadata(from)
            .with_context(|| format!("cannot inspect {}", from.display()))?;
        let (mode, owner) = (meta.mode() & 0o7777, (meta.uid(), meta.gid()));
        if meta.is_dir() {
            let own = self.create(into, name, mode, owner, true)?;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                self.copy(&entry.path(), own, &entry.file_name())?;
            }
        } else if meta.is_file() {
            let own = self.create(into, name, mode, owner, false)?;
            self.write(own, 0, &fs::read(from)?)?;
        } else {
            bail!("{} is not a file or a folder", from.display());
        }
        Ok(())
    }

    /// Flushes everything.
    pub fn flush_all(&mut self) {
        self.moves.clear();
        for inode in self.inodes.values_mut() {
            inode.kept = Some(inode.now.clone());
        }
    }

    /// Simulates a power cut.
    pub fn cut(&mut self, loss: Loss) {
        let mut random = Random(if let Loss::Torn(seed) = loss { seed } else { 0 });
        let names_are_new = random.coin();
        for inode in self.inodes.values_mut() {
            let kept = inode.kept.clone().unwrap_or_else(|| inode.now.emptied());
            inode.now = match (loss, &inode.now.body) {
                (Loss::Nothing, _) | (Loss::Contents | Loss::Zeros, Body::Folder(_)) => continue,
                (Loss::Unflushed, _) => kept,
                (Loss::Torn(_), Body::Folder(_)) => {
                    if names_are_new {
                        continue;
                    }
                    kept
                }
                (Loss::Contents, Body::File { .. }) => Content {
                    body: kept.body,
                    ..inode.now.clone()
                },
                (Loss::Zeros, Body::File { .. }) => inode.now.mixed(&kept, || false),
                (Loss::Torn(_), Body::File { .. }) => inode.now.mixed(&kept, || random.coin()),
            };
        }
        self.forget_unreachable();
        self.flush_all();
    }

    fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::new();
        let mut open = vec![ROOT];
        while let Some(at) = open.pop() {
            if reached.insert(at)
                && let Some(Inode {
                    now:
                        Content {
                            body: Body::Folder(names),
                            ..
                        },
                    ..
                }) = self.inodes.get(&at)
            {
                open.extend(names.values());
            }
        }
        self.inodes.retain(|at, _| reached.contains(at));
    }

    pub(super) fn get(&self, at: u64) -> Answer<&Content> {
        self.inodes
            .get(&at)
            .map(|inode| &inode.now)
            .ok_or(Errno::ENOENT)
    }

    pub(super) fn get_mut(&mut self, at: u64) -> Answer<&mut Content> {
        self.inodes
            .get_mut(&at)
            .map(|inode| &mut inode.now)
            .ok_or(Errno::ENOENT)
    }

    pub(super) fn names(&self, at: u64) -> Answer<&BTreeMap<OsString, u64>> {
        match &self.get(at)?.body {
            Body::Folder(names) => Ok(names),
            Body::File { .. } => Err(Errno::ENOTDIR),
        }
    }

    fn names_mut(&mut self, at: u64) -> Answer<&mut BTreeMap<OsString, u64>> {
        match &mut self.get_mut(at)?.body {
            Body::Folder(names) => Ok(names),
            Body::File { .. } => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn find(&self, folder: u64, name: &OsStr) -> Answer<u64> {
        self.names(folder)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    pub(super) fn create(
        &mut self,
        folder: u64,
        name: &OsStr,
        mode: u32,
        owner: (u32, u32),
        is_folder: bool,
    ) -> Answer<u64> {
        if self.names(folder)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let own = self.next;
        self.next += 1;
        let now = if is_folder {
            Content::folder(mode, owner)
        } else {
            Content::file(mode, owner)
        };
        self.inodes.insert(own, Inode { now, kept: None });
        self.names_mut(folder)?.insert(name.to_owned(), own);
        Ok(own)
    }

    /// Removes a name. The file itself remains until the next cut, because a process may have the
    /// file open.
    pub(super) fn remove(&mut self, folder: u64, name: &OsStr) -> Answer<()> {
        let own = self.find(folder, name)?;
        if self.names(own).is_ok_and(|names| !names.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        self.names_mut(folder)?.remove(name);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Answer<()> {
        let own = self.find(from.0, from.1)?;
        if let Ok(other) = self.find(to.0, to.1)
            && self.names(other).is_ok_and(|names| !names.is_empty())
        {
            return Err(Errno::ENOTEMPTY);
        }
        self.names_mut(from.0)?.remove(from.1);
        self.names_mut(to.0)?.insert(to.1.to_owned(), own);
        if from.0 != to.0 {
            self.moves.push(Move {
                from: (from.0, from.1.to_owned()),
                to: (to.0, to.1.to_owned()),
            });
        }
        Ok(())
    }

    pub(super) fn read(&self, at: u64, offset: u64, count: u64) -> Answer<Vec<u8>> {
        self.get(at)?.read(offset, count)
    }

    pub(super) fn write(&mut self, at: u64, offset: u64, bytes: &[u8]) -> Answer<()> {
        self.get_mut(at)?.write(offset, bytes)
    }

    pub(super) fn resize(&mut self, at: u64, to: u64) -> Answer<()> {
        self.get_mut(at)?.resize(to)
    }

    /// Handles the fsync of one file or folder.
    pub(super) fn flush(&mut self, at: u64) -> Answer<()> {
        let inode = self.inodes.get_mut(&at).ok_or(Errno::ENOENT)?;
        inode.kept = Some(inode.now.clone());
        if self.in_order {
            for folder in self
                .inodes
                .values_mut()
                .filter(|inode| inode.now.is_folder())
            {
                folder.kept = Some(folder.now.clone());
            }
            self.moves.clear();
            return Ok(());
        }
        let (done, open) = self
            .moves
            .drain(..)
            .partition(|it: &Move| it.from.0 == at || it.to.0 == at);
        self.moves = open;
        let done: Vec<Move> = done;
        for Move { from, to } in done {
            let own = self
                .names(to.0)
                .ok()
                .and_then(|names| names.get(&to.1).copied());
            if let Some(names) = self.kept_names(from.0) {
                names.remove(&from.1);
            }
            if let (Some(names), Some(own)) = (self.kept_names(to.0), own) {
                names.insert(to.1, own);
            }
        }
        Ok(())
    }

    fn kept_names(&mut self, at: u64) -> Option<&mut BTreeMap<OsString, u64>> {
        match &mut self.inodes.get_mut(&at)?.kept.as_mut()?.body {
            Body::Folder(names) => Some(names),
            Body::File { .. } => None,
        }
    }
}

/// A linear congruential generator (Knuth's MMIX). The same seed produces the same torn writes.
struct Random(u64);

impl Random {
    fn coin(&mut self) -> bool {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 40 & 1 == 1
    }
}

#[cfg(test)]
mod tests;
