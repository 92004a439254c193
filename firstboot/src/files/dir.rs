//! A directory held open. What is in it is reached by its name in that directory, and no link is followed there. Another
//! user who can write in the directory can exchange any entry at any moment for a link, a FIFO or another directory.
//!
//! The path to the directory itself may lead over links, but only over links that root alone can have made. CentOS 7's
//! kernel, 3.10, has no openat2(2), which could say this in one call.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, linkat, unlinkat};

use super::about::{About, Kind};

/// How many links a path may lead over: the kernel's own limit (linux/namei.h, MAXSYMLINKS).
const MOST_LINKS: usize = 40;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(super) fd: OwnedFd,
    /// Where it was opened, for messages.
    pub(super) path: PathBuf,
}

impl Dir {
    /// Opens a directory.
    ///
    /// # Errors
    /// `NotFound` where nothing is; `PermissionDenied` where the path leads over a link that another user can have made.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let (at, last) = walk(path, Last::Directory)?;
        debug_assert!(last.is_none(), "a directory was asked for");
        Ok(Self { fd: openat(&at, ".", directory(), Mode::empty())?, path: path.to_owned() })
    }

    /// What the directory itself is.
    pub(crate) fn about(&self) -> io::Result<About> {
        Ok(About::of(&fstat(&self.fd)?))
    }

    /// What an entry is; `None` where nothing has the name.
    pub(crate) fn look(&self, name: &OsStr) -> io::Result<Option<About>> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(About::of(&stat))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a directory in this one.
    pub(crate) fn sub(&self, name: &OsStr) -> io::Result<Self> {
        let fd = openat(&self.fd, name, directory(), Mode::empty()).map_err(|errno| match errno {
            // A link is ELOOP or ENOTDIR, by the kernel's version.
            Errno::ELOOP | Errno::ENOTDIR => io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory"),
            errno => errno.into(),
        })?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// Opens a regular file for reading. A FIFO or a device is refused before it is opened, so that nothing waits for it.
    pub(crate) fn file(&self, name: &OsStr) -> io::Result<File> {
        let there = self.look(name)?.ok_or(Errno::ENOENT)?;
        if there.kind != Kind::File {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("it is {}, not a regular file", there.kind),
            ));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.fd, name, flags, Mode::empty())?);
        if !About::of(&fstat(&file)?).is_same(&there) {
            return Err(io::Error::other("it was exchanged while it was opened"));
        }
        Ok(file)
    }

    /// Makes a file for reading and writing, narrow. Nothing may have the name yet.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600))?))
    }

    /// Makes a directory, narrow. Nothing may have the name yet.
    pub(crate) fn make(&self, name: &OsStr) -> io::Result<Self> {
        mkdirat(&self.fd, name, Mode::from_bits_truncate(0o700))?;
        self.sub(name)
    }

    /// Sets owner and mode of the directory itself.
    pub(crate) fn own(&self, owner: (u32, u32), mode: u32) -> io::Result<()> {
        own(&self.fd, owner, mode)
    }

    /// Gives an entry another name, in this directory or in another on the same volume.
    pub(crate) fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.fd, name, &to.fd, new)?)
    }

    /// Gives a file a second name, which nothing may have yet.
    pub(crate) fn link(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        Ok(linkat(&self.fd, name, &to.fd, new, AtFlags::empty())?)
    }

    /// Removes a name that is not a directory's, if it is there.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes a directory if it is there and empty.
    pub(crate) fn remove_empty(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The names of all entries, in no order.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let again = openat(&self.fd, ".", directory(), Mode::empty())?;
        let mut names = Vec::new();
        for entry in nix::dir::Dir::from_fd(again)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Makes what was done to its entries durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::fsync(&self.fd)?)
    }

    /// The generation of the directory's inode, where the file system tells it.
    pub(crate) fn generation(&self) -> Option<u32> {
        super::about::generation(&self.fd)
    }

    /// When the directory was made, in nanoseconds since 1970, where kernel and file system tell it.
    pub(crate) fn born(&self) -> Option<u64> {
        let file = File::from(self.fd.try_clone().ok()?);
        let born = file.metadata().ok()?.created().ok()?;
        let since = born.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok()
    }
}

/// Sets owner and mode of an open file or directory.
pub(super) fn own(fd: impl std::os::fd::AsFd, (user, group): (u32, u32), mode: u32) -> io::Result<()> {
    let fd = fd.as_fd();
    fchown(fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    Ok(fchmod(fd, Mode::from_bits_truncate(mode))?)
}

fn directory() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// What the last name of a path is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// A directory, which is opened.
    Directory,
    /// Any entry of a directory. A link stays a link.
    Entry,
    /// The file that a link leads to, in the end.
    Target,
}

/// The directory in which a path's last name is, and that name. A link at the end is not followed.
pub(super) fn entry(path: &Path) -> io::Result<(Dir, OsString)> {
    located(path, Last::Entry)
}

/// The same for the file that is read by this path: a link at the end is followed, if only root can have made it.
pub(super) fn target(path: &Path) -> io::Result<(Dir, OsString)> {
    located(path, Last::Target)
}

fn located(path: &Path, last: Last) -> io::Result<(Dir, OsString)> {
    let (at, name) = walk(path, last)?;
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"))?;
    let fd = openat(&at, ".", directory(), Mode::empty())?;
    Ok((Dir { fd, path: path.parent().unwrap_or(path).to_owned() }, name))
}

/// Goes along a path, from one open directory to the next.
fn walk(path: &Path, last: Last) -> io::Result<(OwnedFd, Option<OsString>)> {
    let pass = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let root = || open("/", pass | OFlag::O_DIRECTORY, Mode::empty());
    let mut rest = names_last_first(&std::path::absolute(path)?);
    let (mut at, mut links) = (root()?, 0);
    while let Some(name) = rest.pop() {
        let is_last = rest.is_empty() && last != Last::Directory;
        let next = match openat(&at, name.as_os_str(), pass, Mode::empty()) {
            Err(Errno::ENOENT) if is_last => return Ok((at, Some(name))),
            next => next?,
        };
        let there = About::of(&fstat(&next)?);
        match there.kind {
            Kind::Link if !is_last || last == Last::Target => {
                // The directory may have become root's after another user had made a link in it.
                if !there.is_ours() || !About::of(&fstat(&at)?).only_we_write() {
                    return Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        format!("{} is a link that another user can have made, and is not followed", name.display()),
                    ));
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                let to = PathBuf::from(readlinkat(&at, name.as_os_str())?);
                if to.is_absolute() {
                    at = root()?;
                }
                rest.extend(names_last_first(&to));
            }
            _ if is_last => return Ok((at, Some(name))),
            Kind::Directory => at = next,
            _ => return Err(Errno::ENOTDIR.into()),
        }
    }
    Ok((at, None))
}

fn names_last_first(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    let mut names: Vec<OsString> = names.collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests;
