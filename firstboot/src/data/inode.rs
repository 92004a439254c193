//! Identifies directories by their inodes, because a copy has the same content but a different
//! inode.

use std::io;

use serde::{Deserialize, Serialize};

use crate::files::Dir;

/// The identity of a directory in its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inode {
    number: u64,
    /// The inode's generation, which distinguishes the directory from an earlier one with the same
    /// number. XFS may reuse an inode number soon after a deletion. Not every file system provides
    /// a generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
    /// The creation time, which CentOS 7's kernel does not report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born: Option<u64>,
}

impl Inode {
    pub(crate) fn of(dir: &Dir) -> io::Result<Self> {
        Ok(Self {
            number: dir.attributes()?.inode,
            generation: dir.generation(),
            born: dir.born(),
        })
    }

    #[cfg(test)]
    pub(crate) fn numbered(number: u64) -> Self {
        Self {
            number,
            generation: Some(1),
            born: None,
        }
    }

    /// Returns whether both identities belong to the same directory. Compares only the values that
    /// both identities contain, because a newer kernel may report more values than an older one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        self.number == other.number
            && agree(self.generation, other.generation)
            && agree(self.born, other.born)
    }
}

/// The directories of a member's data. Each directory is created only once, whereas the files in it
/// change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directories {
    /// `data`, which firstboot itself creates.
    pub(crate) data: Inode,
    /// `data/member`.
    pub(crate) member: Inode,
    /// `data/member/snap`, with the database.
    pub(crate) snap: Inode,
    /// `data/member/wal`, the write-ahead log.
    pub(crate) wal: Inode,
}

impl Directories {
    /// Returns the path of the first directory that was replaced, or `None` if no directory was
    /// replaced.
    pub(crate) fn first_replaced(&self, now: &Self) -> Option<&'static str> {
        let pairs = [
            ("data", self.data, now.data),
            ("data/member", self.member, now.member),
            ("data/member/snap", self.snap, now.snap),
            ("data/member/wal", self.wal, now.wal),
        ];
        pairs
            .into_iter()
            .find(|(_, before, now)| !before.is_same(now))
            .map(|(path, ..)| path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_recreated_or_copied_directory_has_a_different_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let of = || Inode::of(&Dir::open(&path).unwrap()).unwrap();
        fs::create_dir(&path).unwrap();
        let first = of();
        fs::write(path.join("file"), "content").unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        fs::rename(folder.path().join("moved"), &path).unwrap();
        assert!(
            first.is_same(&of()),
            "a new name or new content does not change the identity"
        );
        for _ in 0..50 {
            fs::remove_dir_all(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert!(
                !first.is_same(&of()),
                "the new directory was mistaken for the deleted one: {first:?}, {:?}",
                of()
            );
        }
        assert!(
            of().generation.is_some() || of().born.is_some(),
            "only the inode number identifies the directory"
        );
    }

    #[test]
    fn a_value_that_only_one_of_two_kernels_reports_is_ignored() {
        let (old, new) = (
            Inode {
                number: 7,
                generation: Some(1),
                born: None,
            },
            Inode::numbered(7),
        );
        assert!(
            old.is_same(&Inode {
                born: Some(5),
                ..new
            }) && Inode {
                generation: None,
                ..old
            }
            .is_same(&new)
        );
        assert!(
            !old.is_same(&Inode {
                generation: Some(2),
                ..new
            }) && !old.is_same(&Inode::numbered(8))
        );
    }
}
