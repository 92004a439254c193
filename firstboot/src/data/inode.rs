//! Which directory a directory is. A copy has the same content and another inode.

use std::io;

use serde::{Deserialize, Serialize};

use crate::files::Dir;

/// A directory, as its file system numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inode {
    number: u64,
    /// Tells it from an earlier directory of the same number, which XFS soon gives to another. Not every file system says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
    /// When it was made. CentOS 7's kernel does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born: Option<u64>,
}

impl Inode {
    /// Of an open directory.
    pub(crate) fn of(dir: &Dir) -> io::Result<Self> {
        Ok(Self { number: dir.about()?.inode, generation: dir.generation(), born: dir.born() })
    }

    #[cfg(test)]
    pub(crate) fn numbered(number: u64) -> Self {
        Self { number, generation: Some(1), born: None }
    }

    /// Whether both are one directory, by all that is known of both: a newer kernel may say more than an older one did.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        self.number == other.number && agree(self.generation, other.generation) && agree(self.born, other.born)
    }
}

/// The directories that etcd makes once for a member, and keeps. Files in them come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directories {
    /// `data`, which firstboot makes.
    pub(crate) data: Inode,
    /// `data/member`.
    pub(crate) member: Inode,
    /// `data/member/snap`, with the database.
    pub(crate) snap: Inode,
    /// `data/member/wal`, the write-ahead log.
    pub(crate) wal: Inode,
}

impl Directories {
    /// The first of them that is another one now, by its path.
    pub(crate) fn exchanged(&self, now: &Self) -> Option<&'static str> {
        let pairs = [
            ("data", self.data, now.data),
            ("data/member", self.member, now.member),
            ("data/member/snap", self.snap, now.snap),
            ("data/member/wal", self.wal, now.wal),
        ];
        pairs.into_iter().find(|(_, before, now)| !before.is_same(now)).map(|(path, ..)| path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_made_again_or_copied_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let of = || Inode::of(&Dir::open(&path).unwrap()).unwrap();
        fs::create_dir(&path).unwrap();
        let first = of();
        fs::write(path.join("file"), "content").unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        fs::rename(folder.path().join("moved"), &path).unwrap();
        assert!(first.is_same(&of()), "it is the same, whatever was done in it and to its name");
        for _ in 0..50 {
            fs::remove_dir_all(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert!(!first.is_same(&of()), "it is taken for the one that was removed: {first:?}, {:?}", of());
        }
        assert!(of().generation.is_some() || of().born.is_some(), "nothing but a number tells it from another");
    }

    #[test]
    fn what_only_one_of_two_kernels_says_is_no_difference() {
        let (old, new) = (Inode { number: 7, generation: Some(1), born: None }, Inode::numbered(7));
        assert!(old.is_same(&Inode { born: Some(5), ..new }) && Inode { generation: None, ..old }.is_same(&new));
        assert!(!old.is_same(&Inode { generation: Some(2), ..new }) && !old.is_same(&Inode::numbered(8)));
    }
}
