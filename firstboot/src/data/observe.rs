//! Reads the data directory. While etcd is running, the end of the WAL may be a partial write, so a
//! caller that depends on the end of the WAL first stops etcd.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::EtcdVersion;

use super::inode::{Directories, Inode};
use super::wal::{self, WalEnd};
use crate::files::{Dir, Kind};

/// The completeness of a data directory's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The directory is empty or missing.
    Empty,
    /// There is no write-ahead log, so etcd has never voted with this data. etcd creates the WAL in
    /// a folder with a temporary name, and renames the folder when the WAL is complete
    /// (server/storage/wal/wal.go, Create).
    NoWal,
    /// There is a write-ahead log.
    HasWal,
}

/// The observed facts on which the check depends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataDirState {
    pub(crate) contents: Contents,
    /// `data` itself, or `None` if it does not exist.
    pub(crate) data: Option<Inode>,
    /// All directories of a member, or `None` if one is missing.
    pub(crate) directories: Option<Directories>,
    /// The end of the WAL, or the reason why it cannot be read.
    pub(crate) wal: Result<WalEnd, String>,
    /// The index of the last entry that etcd applied to the database, or the reason why the index
    /// cannot be read.
    pub(crate) applied: Result<u64, String>,
}

impl DataDirState {
    pub(crate) fn at(folder: &Path) -> Result<Self> {
        let look = || -> io::Result<Self> {
            let Some(data) = open(folder)? else {
                return Ok(Self::nothing());
            };
            let (own, contents) = (Inode::of(&data)?, contents_of(&data)?);
            Ok(Self {
                contents,
                data: Some(own),
                directories: directories(&data, own)?,
                wal: wal(&data).map_err(|error| error.to_string()),
                applied: applied(&data).map_err(|error| error.to_string()),
            })
        };
        look().with_context(|| format!("cannot read {}", folder.display()))
    }

    fn nothing() -> Self {
        let missing = || "it is missing".to_owned();
        Self {
            contents: Contents::Empty,
            data: None,
            directories: None,
            wal: Err(missing()),
            applied: Err(missing()),
        }
    }
}

pub(crate) fn contents(folder: &Path) -> Result<Contents> {
    let look = || open(folder)?.map_or(Ok(Contents::Empty), |data| contents_of(&data));
    look().with_context(|| format!("cannot read {}", folder.display()))
}

/// Flushes the newest file of the WAL, because etcd may have been killed before it flushed the
/// file.
pub(crate) fn flush_wal(folder: &Path) -> Result<()> {
    let flush = || -> io::Result<()> {
        let (wal, name, _) = newest(&Dir::open(folder)?)?;
        wal.file(&name)?.sync_all()
    };
    flush().with_context(|| format!("cannot flush the WAL in {}", folder.display()))
}

/// Returns the directories of the member, or `None` if one is missing. The function also works
/// while etcd is running.
pub(crate) fn directories_of(folder: &Path) -> Result<Option<Directories>> {
    let look = || match open(folder)? {
        None => Ok(None),
        Some(data) => directories(&data, Inode::of(&data)?),
    };
    look().with_context(|| format!("cannot read {}", folder.display()))
}

fn open(folder: &Path) -> io::Result<Option<Dir>> {
    some(Dir::open(folder))
}

/// Returns `None` if the path is missing or is not a directory.
fn some(dir: io::Result<Dir>) -> io::Result<Option<Dir>> {
    match dir {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        dir => dir.map(Some),
    }
}

fn below(data: &Dir, names: &[&str]) -> io::Result<Option<Dir>> {
    let Some((first, rest)) = names.split_first() else {
        return Ok(None);
    };
    match (some(data.sub(OsStr::new(first)))?, rest) {
        (Some(dir), []) => Ok(Some(dir)),
        (Some(dir), rest) => below(&dir, rest),
        (None, _) => Ok(None),
    }
}

fn contents_of(data: &Dir) -> io::Result<Contents> {
    let wal = below(data, &["member", "wal"])?.map_or(Ok(Vec::new()), |wal| wal.names())?;
    if wal.iter().any(|name| {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "wal")
    }) {
        return Ok(Contents::HasWal);
    }
    // On some file systems, the root of a new volume already contains lost+found.
    let something = data.names()?.iter().any(|name| name != "lost+found");
    Ok(if something {
        Contents::NoWal
    } else {
        Contents::Empty
    })
}

fn directories(data: &Dir, own: Inode) -> io::Result<Option<Directories>> {
    let inode = |names: &[&str]| below(data, names)?.map(|dir| Inode::of(&dir)).transpose();
    let all = (
        inode(&["member"])?,
        inode(&["member", "snap"])?,
        inode(&["member", "wal"])?,
    );
    Ok(match all {
        (Some(member), Some(snap), Some(wal)) => Some(Directories {
            data: own,
            member,
            snap,
            wal,
        }),
        _ => None,
    })
}

fn wal(data: &Dir) -> io::Result<WalEnd> {
    let (wal, name, first) = newest(data)?;
    let read = wal.file(&name).and_then(|file| WalEnd::read(file, first));
    read.map_err(|error| other(&format!("member/wal/{}: {error}", name.display())))
}

/// Returns the newest file of the WAL, with its directory and the index of its first entry.
fn newest(data: &Dir) -> io::Result<(Dir, OsString, u64)> {
    let (wal, mut files) = all_wal_files(data)?;
    let (_, first, name) = files
        .pop()
        .ok_or_else(|| other("member/wal contains no WAL file"))?;
    Ok((wal, name, first))
}

/// A file of the WAL: its number, the index of its first entry, and its name.
type WalFile = (u64, u64, OsString);

/// Returns the directory of the WAL, and the WAL's files in order. Fails if a file is missing,
/// because etcd numbers the files without gaps (server/storage/wal/util.go, isValidSeq).
fn all_wal_files(data: &Dir) -> io::Result<(Dir, Vec<WalFile>)> {
    let wal = below(data, &["member", "wal"])?.ok_or_else(|| other("member/wal is missing"))?;
    let mut files: Vec<WalFile> = Vec::new();
    for name in wal.names()? {
        if let Some((number, first)) = name.to_str().and_then(wal::parse_name) {
            files.push((number, first, name));
        }
    }
    files.sort();
    if files.windows(2).any(|pair| pair[0].0 + 1 != pair[1].0) {
        return Err(other("a file of member/wal is missing"));
    }
    Ok((wal, files))
}

/// Opens all files of the WAL, in order.
pub(super) fn wal_files(folder: &Path) -> io::Result<Vec<File>> {
    let (wal, files) = all_wal_files(&Dir::open(folder)?)?;
    files.iter().map(|(_, _, name)| wal.file(name)).collect()
}

/// Reads the index of the last entry that etcd applied to the database, from the key
/// `consistent_index` in the bucket `meta` (server/storage/schema/schema.go).
fn applied(data: &Dir) -> io::Result<u64> {
    // The database does not contain the key until etcd applies the first entry.
    let index = value(data, b"meta", b"consistent_index")?
        .and_then(|value| value.as_slice().try_into().ok())
        .map(u64::from_be_bytes);
    Ok(index.unwrap_or_default())
}

/// Returns the lowest minor version of etcd that can open this data. The result is the higher of
/// two minor versions: that of the cluster version and that of the storage version. The two can
/// differ, because etcd migrates the storage a few seconds after the cluster version has decreased
/// (server/storage/schema/membership.go and schema.go). etcd must not be running.
pub(super) fn needed_minor(folder: &Path) -> io::Result<Option<u64>> {
    let data = Dir::open(folder)?;
    let minor = |bucket: &[u8], key: &[u8]| -> io::Result<Option<u64>> {
        let text = value(&data, bucket, key)?.and_then(|value| String::from_utf8(value).ok());
        Ok(text.and_then(|text| Some(text.parse::<EtcdVersion>().ok()?.minor)))
    };
    let cluster = minor(b"cluster", b"clusterVersion")?;
    Ok(cluster.max(minor(b"meta", b"storageVersion")?))
}

fn value(data: &Dir, bucket: &[u8], key: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let snap = below(data, &["member", "snap"])?.ok_or_else(|| other("member/snap is missing"))?;
    let found = snap
        .look(OsStr::new("db"))?
        .filter(|there| there.kind == Kind::File);
    let Some(attributes) = found else {
        return Err(other("member/snap/db is missing"));
    };
    let value = snap
        .file(OsStr::new("db"))
        .and_then(|file| bolt::get(&file, attributes.size, bucket, key));
    value.map_err(|error| other(&format!("member/snap/db: {error}")))
}

fn other(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_complete_wal_counts_as_a_wal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        assert_eq!(contents(&path).unwrap(), Contents::Empty);
        fs::create_dir_all(path.join("lost+found")).unwrap();
        assert_eq!(contents(&path).unwrap(), Contents::Empty);
        for half in ["member/snap", "member/wal.tmp", "member/wal"] {
            fs::create_dir_all(path.join(half)).unwrap();
            assert_eq!(contents(&path).unwrap(), Contents::NoWal, "{half}");
        }
        fs::write(path.join("member/wal/0.tmp"), "").unwrap();
        assert_eq!(contents(&path).unwrap(), Contents::NoWal);
        fs::write(
            path.join("member/wal/0000000000000000-0000000000000000.wal"),
            "",
        )
        .unwrap();
        assert_eq!(contents(&path).unwrap(), Contents::HasWal);
    }

    #[test]
    fn a_gap_in_the_log_and_a_missing_database_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs::create_dir_all(path.join("member/wal")).unwrap();
        fs::create_dir_all(path.join("member/snap")).unwrap();
        let file = |number: u64, first: u64| {
            path.join(format!("member/wal/{number:016x}-{first:016x}.wal"))
        };
        let mut writer = wal::tests::Writer::new(7, 9);
        writer.entry(41).state(2, 7, 40);
        fs::write(file(4, 41), writer.file(4096)).unwrap();
        let seen = DataDirState::at(&path).unwrap();
        assert!(seen.directories.is_some());
        assert_eq!(
            seen.wal.map(|wal| (wal.member, wal.last, wal.commit)),
            Ok((7, 41, 40))
        );
        assert_eq!(seen.applied, Err("member/snap/db is missing".to_owned()));
        fs::write(file(2, 3), "").unwrap();
        assert_eq!(
            DataDirState::at(&path).unwrap().wal,
            Err("a file of member/wal is missing".to_owned())
        );
        fs::remove_dir_all(path.join("member/snap")).unwrap();
        assert_eq!(DataDirState::at(&path).unwrap().directories, None);
    }
}
