//! What is done to a directory with all that is in it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::unistd::{UnlinkatFlags, unlinkat};

use super::about::{About, Kind};
use super::dir::{Dir, own};

/// How many directories may lie in each other. etcd's data has three.
pub(super) const DEEPEST: usize = 64;

impl Dir {
    /// Removes an entry, if it is there, with all that is in it. Of a link only the link goes.
    pub(crate) fn remove_all(&self, name: &OsStr) -> io::Result<()> {
        self.remove_below(name, DEEPEST)
    }

    fn remove_below(&self, name: &OsStr, levels: usize) -> io::Result<()> {
        match self.look(name)? {
            None => return Ok(()),
            Some(there) if there.kind != Kind::Directory => return self.remove(name),
            Some(_) => {}
        }
        let below = levels.checked_sub(1).ok_or_else(|| too_deep(&self.path))?;
        let inner = self.sub(name)?;
        for entry in inner.names()? {
            inner.remove_below(&entry, below)?;
        }
        Ok(unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)?)
    }

    /// How many bytes the files in it have, with all that is below.
    pub(crate) fn size(&self) -> io::Result<u64> {
        self.size_below(DEEPEST)
    }

    fn size_below(&self, levels: usize) -> io::Result<u64> {
        let below = levels.checked_sub(1).ok_or_else(|| too_deep(&self.path))?;
        let mut total = 0;
        for name in self.names()? {
            total += match self.look(&name)? {
                Some(there) if there.kind == Kind::Directory => self.sub(&name)?.size_below(below)?,
                Some(there) if there.kind == Kind::File => there.size,
                _ => 0,
            };
        }
        Ok(total)
    }

    /// Gives what belongs to another, here and below, to an owner, and lets that one read and write all of it. Gives the number
    /// of entries that it changed. A file with a second name is left: it would be given away under that name too.
    pub(crate) fn give(&self, owner: (u32, u32)) -> io::Result<usize> {
        self.give_below(owner, DEEPEST)
    }

    fn give_below(&self, owner: (u32, u32), levels: usize) -> io::Result<usize> {
        let below = levels.checked_sub(1).ok_or_else(|| too_deep(&self.path))?;
        let there = self.about()?;
        let mut changed = give(&self.fd, &there, owner, 0o700)?;
        for name in self.names()? {
            changed += match self.look(&name)? {
                Some(there) if there.kind == Kind::Directory => self.sub(&name)?.give_below(owner, below)?,
                Some(there) if there.kind == Kind::File && there.links == 1 => {
                    let file = self.file(&name)?;
                    give(&file, &there, owner, 0o600)?
                }
                _ => 0,
            };
        }
        Ok(changed)
    }

    /// Gives the directory and all that is in it to an owner, narrow, and flushes all of it. It must lie where only root
    /// can go: a file with a second name would be given away under that name too.
    pub(crate) fn chown_and_sync(&self, owner: (u32, u32)) -> io::Result<()> {
        for name in self.names()? {
            match self.look(&name)? {
                Some(there) if there.kind == Kind::Directory => self.sub(&name)?.chown_and_sync(owner)?,
                Some(there) if there.links > 1 => {
                    let path = self.path.join(&name);
                    return Err(io::Error::other(format!("{} has a second name", path.display())));
                }
                _ => {
                    let file = self.file(&name)?;
                    own(&file, owner, 0o600)?;
                    file.sync_all()?;
                }
            }
        }
        self.own(owner, 0o700)?;
        self.sync()
    }
}

/// Gives an open file to an owner, with these permissions at least. 1: it was another's, or had fewer.
fn give(fd: impl AsFd, there: &About, owner: (u32, u32), least: u32) -> io::Result<usize> {
    if there.owner == owner && there.mode & least == least {
        return Ok(0);
    }
    own(fd, owner, there.mode & 0o777 | least)?;
    Ok(1)
}

fn too_deep(path: &Path) -> io::Error {
    io::Error::other(format!("{}: more than {DEEPEST} directories lie in each other", path.display()))
}
