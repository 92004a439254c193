//! Implements operations on a directory and its entire content.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::unistd::{UnlinkatFlags, unlinkat};

use super::attributes::{FileAttributes, Kind};
use super::dir::{Dir, own};

/// The maximum depth of nested directories. etcd's data has a depth of three.
pub(super) const DEEPEST: usize = 64;

impl Dir {
    /// Deletes an entry with its entire content, if it exists. If the entry is a link, deletes the
    /// link and not its target.
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

    /// Returns the total size in bytes of the files in the directory and in all nested directories.
    pub(crate) fn size(&self) -> io::Result<u64> {
        self.size_below(DEEPEST)
    }

    fn size_below(&self, levels: usize) -> io::Result<u64> {
        let below = levels.checked_sub(1).ok_or_else(|| too_deep(&self.path))?;
        let mut total = 0;
        for name in self.names()? {
            total += match self.look(&name)? {
                Some(there) if there.kind == Kind::Directory => {
                    self.sub(&name)?.size_below(below)?
                }
                Some(there) if there.kind == Kind::File => there.size,
                _ => 0,
            };
        }
        Ok(total)
    }

    /// Gives the directory and its content this owner, and permits the owner to read and write
    /// them. Returns the number of changed entries. Skips a file with a second name (a hard link),
    /// because the second name may be outside the directory.
    pub(crate) fn change_owner(&self, owner: (u32, u32)) -> io::Result<usize> {
        self.give_below(owner, DEEPEST)
    }

    fn give_below(&self, owner: (u32, u32), levels: usize) -> io::Result<usize> {
        let below = levels.checked_sub(1).ok_or_else(|| too_deep(&self.path))?;
        let there = self.attributes()?;
        let mut changed = give(&self.fd, &there, owner, 0o700)?;
        for name in self.names()? {
            changed += match self.look(&name)? {
                Some(there) if there.kind == Kind::Directory => {
                    self.sub(&name)?.give_below(owner, below)?
                }
                Some(there) if there.kind == Kind::File && there.links == 1 => {
                    let file = self.file(&name)?;
                    give(&file, &there, owner, 0o600)?
                }
                _ => 0,
            };
        }
        Ok(changed)
    }

    /// Gives the directory and its content this owner and private modes, and flushes them. Refuses
    /// any entry that is neither a file nor a directory. Also refuses a file with a second name (a
    /// hard link), because the second name may be outside the directory. The caller ensures that
    /// only root has access to the directory.
    pub(crate) fn chown_and_sync(&self, owner: (u32, u32)) -> io::Result<()> {
        for name in self.names()? {
            match self.look(&name)? {
                Some(there) if there.kind == Kind::Directory => {
                    self.sub(&name)?.chown_and_sync(owner)?;
                }
                Some(there) if there.links > 1 => {
                    let path = self.path.join(&name);
                    return Err(io::Error::other(format!(
                        "{} has a second name",
                        path.display()
                    )));
                }
                _ => {
                    let file = self.file(&name)?;
                    own(&file, owner, 0o600)?;
                    file.sync_all()?;
                }
            }
        }
        self.set_owner_and_mode(owner, 0o700)?;
        self.sync()
    }
}

/// Sets the owner of an open file and grants at least these permissions. Returns 1 if it changed
/// the owner or the mode, and 0 otherwise.
fn give(fd: impl AsFd, there: &FileAttributes, owner: (u32, u32), least: u32) -> io::Result<usize> {
    if there.owner == owner && there.mode & least == least {
        return Ok(0);
    }
    own(fd, owner, there.mode & 0o777 | least)?;
    Ok(1)
}

fn too_deep(path: &Path) -> io::Error {
    io::Error::other(format!(
        "{} is nested more than {DEEPEST} directories deep",
        path.display()
    ))
}
