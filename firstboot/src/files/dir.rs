//! Accesses the entries of an open directory by their names, without following links. Another user
//! who can write to the directory can replace any entry with a link, a FIFO or a different
//! directory at any time.
//!
//! The path to the directory itself may contain links. firstboot follows such a link only if no
//! user other than root and the current user could have created it. CentOS 7's kernel, 3.10, does
//! not have openat2(2), which could check the path in one call.

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

use super::attributes::{FileAttributes, Kind};

/// The maximum number of links that firstboot follows in one path. Current kernels have the same
/// limit (linux/namei.h, MAXSYMLINKS).
const MOST_LINKS: usize = 40;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(super) fd: OwnedFd,
    /// The path of the directory, for messages.
    pub(super) path: PathBuf,
}

impl Dir {
    /// Opens a directory.
    ///
    /// # Errors
    /// Fails with `NotFound` if the directory does not exist, and with `PermissionDenied` if the
    /// path contains a link that another user could have created.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let (at, last) = walk(path, Last::Directory)?;
        debug_assert!(last.is_none(), "the caller requested a directory");
        Ok(Self {
            fd: openat(&at, ".", directory(), Mode::empty())?,
            path: path.to_owned(),
        })
    }

    /// Returns the attributes of the directory itself.
    pub(crate) fn attributes(&self) -> io::Result<FileAttributes> {
        Ok(FileAttributes::of(&fstat(&self.fd)?))
    }

    /// Returns the attributes of an entry, or `None` if there is no entry with this name.
    pub(crate) fn look(&self, name: &OsStr) -> io::Result<Option<FileAttributes>> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileAttributes::of(&stat))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a directory inside this directory.
    pub(crate) fn sub(&self, name: &OsStr) -> io::Result<Self> {
        let fd =
            openat(&self.fd, name, directory(), Mode::empty()).map_err(|errno| match errno {
                // For a link, the call fails with ELOOP or ENOTDIR, depending on the kernel's
                // version.
                Errno::ELOOP | Errno::ENOTDIR => {
                    io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory")
                }
                errno => errno.into(),
            })?;
        Ok(Self {
            fd,
            path: self.path.join(name),
        })
    }

    /// Opens a regular file for reading. Refuses a FIFO or a device without opening it, because
    /// opening it might block.
    pub(crate) fn file(&self, name: &OsStr) -> io::Result<File> {
        let there = self.look(name)?.ok_or(Errno::ENOENT)?;
        if there.kind != Kind::File {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("it is {}, not a regular file", there.kind),
            ));
        }
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.fd, name, flags, Mode::empty())?);
        if !FileAttributes::of(&fstat(&file)?).is_same(&there) {
            return Err(io::Error::other(
                "it was replaced while firstboot opened it",
            ));
        }
        Ok(file)
    }

    /// Creates a private file for reading and writing. No entry with this name may exist.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(
            &self.fd,
            name,
            flags,
            Mode::from_bits_truncate(0o600),
        )?))
    }

    /// Creates a private directory. No entry with this name may exist.
    pub(crate) fn make(&self, name: &OsStr) -> io::Result<Self> {
        mkdirat(&self.fd, name, Mode::from_bits_truncate(0o700))?;
        self.sub(name)
    }

    /// Sets the owner and mode of the directory itself.
    pub(crate) fn set_owner_and_mode(&self, owner: (u32, u32), mode: u32) -> io::Result<()> {
        own(&self.fd, owner, mode)
    }

    /// Renames an entry within this directory, or moves it into another directory on the same
    /// volume.
    pub(crate) fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.fd, name, &to.fd, new)?)
    }

    /// Gives a file a second name (a hard link). No entry with the second name may exist.
    pub(crate) fn link(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        Ok(linkat(&self.fd, name, &to.fd, new, AtFlags::empty())?)
    }

    /// Deletes an entry that is not a directory, if it exists.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            // On a read-only file system, the kernel returns EROFS even for a missing entry.
            Err(Errno::EROFS) if self.look(name)?.is_none() => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes a directory if it exists and is empty.
    pub(crate) fn remove_empty(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
            Err(Errno::EROFS) if self.look(name)?.is_none() => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the names of all entries, in any order.
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

    /// Flushes the directory, so that changes to its entries are durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::fsync(&self.fd)?)
    }

    /// Returns the generation of the directory's inode, if the file system has generations.
    pub(crate) fn generation(&self) -> Option<u32> {
        super::attributes::generation(&self.fd)
    }

    /// Returns the creation time of the directory in nanoseconds since 1970, if the kernel and the
    /// file system provide it.
    pub(crate) fn born(&self) -> Option<u64> {
        let file = File::from(self.fd.try_clone().ok()?);
        let born = file.metadata().ok()?.created().ok()?;
        let since = born.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok()
    }
}

/// Sets the owner and mode of an open file or directory.
pub(super) fn own(
    fd: impl std::os::fd::AsFd,
    (user, group): (u32, u32),
    mode: u32,
) -> io::Result<()> {
    let fd = fd.as_fd();
    fchown(fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    Ok(fchmod(fd, Mode::from_bits_truncate(mode))?)
}

fn directory() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// The treatment of the last component of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Open the last component, which must be a directory.
    Directory,
    /// Return the last component, which may be any entry of a directory. Do not follow a link.
    Entry,
    /// If the last component is a link, follow the link to its final target. Return the last
    /// component of the final path.
    Target,
}

/// Returns a path's last component and the directory that contains it. Does not follow a link at
/// the path's end.
pub(super) fn entry(path: &Path) -> io::Result<(Dir, OsString)> {
    located(path, Last::Entry)
}

/// Returns the name of a file to read, and the directory that contains the file. Follows a link at
/// the path's end, but refuses a link that another user could have created.
pub(super) fn target(path: &Path) -> io::Result<(Dir, OsString)> {
    located(path, Last::Target)
}

fn located(path: &Path, last: Last) -> io::Result<(Dir, OsString)> {
    let (at, name) = walk(path, last)?;
    let name =
        name.ok_or_else(|| io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"))?;
    let fd = openat(&at, ".", directory(), Mode::empty())?;
    Ok((
        Dir {
            fd,
            path: path.parent().unwrap_or(path).to_owned(),
        },
        name,
    ))
}

/// Follows a path from one open directory to the next. Returns the last directory, and the name of
/// the requested entry in this directory. The name is `None` if the path leads to the directory
/// itself.
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
        let there = FileAttributes::of(&fstat(&next)?);
        match there.kind {
            Kind::Link if !is_last || last == Last::Target => {
                // Even if the directory now belongs to root, another user may have created a link
                // in it earlier.
                if !there.is_ours() || !FileAttributes::of(&fstat(&at)?).only_we_write() {
                    return Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        format!(
                            "{} is a link that another user could have created, so firstboot does not follow it",
                            name.display()
                        ),
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
