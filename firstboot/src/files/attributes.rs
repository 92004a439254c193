//! Reads the attributes of a file or directory.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::sys::stat::{FileStat, SFlag};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Link,
    Special,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Link => "a link",
            Self::Special => "a FIFO, a device or a socket",
        })
    }
}

/// The attributes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileAttributes {
    pub(crate) kind: Kind,
    /// The permission bits.
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    /// The number of the file's hard links.
    pub(crate) links: u64,
    pub(crate) inode: u64,
    /// The file system that contains the entry.
    pub(crate) device: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileAttributes {
    pub(super) fn of(stat: &FileStat) -> Self {
        let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFLNK => Kind::Link,
            _ => Kind::Special,
        };
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            links: stat.st_nlink,
            inode: stat.st_ino,
            device: stat.st_dev,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Returns whether both sets of attributes describe the same file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.device, self.inode, self.kind) == (other.device, other.inode, other.kind)
    }

    /// Returns whether only root or the current user can create entries in the directory.
    pub(super) fn only_we_write(&self) -> bool {
        self.is_ours() && self.mode & 0o022 == 0
    }

    /// Returns whether the entry belongs to root or to the current user.
    pub(super) fn is_ours(&self) -> bool {
        let (user, _) = self.owner;
        user == 0 || user == nix::unistd::geteuid().as_raw()
    }

    /// Returns the fingerprint of the file.
    pub(super) fn fingerprint(&self) -> FileFingerprint {
        FileFingerprint {
            inode: self.inode,
            size: self.size,
            modified: self.modified,
            changed: self.changed,
        }
    }
}

/// The fingerprint of a file. The fingerprint changes when the file is replaced or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileFingerprint {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Returns the generation of an inode, or `None` if the file system does not support generations.
/// The generation distinguishes the inode from an earlier inode with the same number. XFS can reuse
/// the number of a deleted directory immediately.
pub(super) fn generation(fd: impl AsFd) -> Option<u32> {
    let mut generation: nix::libc::c_long = 0;
    // XFS and ext4 write only an int, so the upper half of the variable remains 0 (kernel 3.10,
    // xfs_file_ioctl and ext4_ioctl).
    #[expect(
        unsafe_code,
        reason = "no crate provides this call; the kernel writes one number, and the variable has \
             room for it"
    )]
    let answer = unsafe { get_version(fd.as_fd().as_raw_fd(), &raw mut generation) };
    answer.ok()?;
    u32::try_from(generation & 0xffff_ffff).ok()
}

nix::ioctl_read! {
    /// `FS_IOC_GETVERSION` (linux/fs.h).
    get_version, b'v', 1, nix::libc::c_long
}
