//! etcd's volume as the barrier sees it: is there data, and is it the volume that was there before.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use time::OffsetDateTime;
use time::macros::format_description;

use super::epoch::Nonce;
use crate::files::{self, ETCD, Folder, Wanted};
use crate::journal::{Event, Journal};
use crate::paths;
use crate::say::say;

/// What lies in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// Nothing.
    Empty,
    /// Something, but no write-ahead log: etcd never took part in anything with it. It makes the log in a folder of
    /// another name, which it renames when the log is whole (server/storage/wal/wal.go, Create).
    HalfBorn,
    /// A member's data.
    Whole,
}

/// Whether the volume is the one of the journal's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volume {
    /// It is.
    Known,
    /// It was marked in another life.
    Other,
    /// It bears no mark.
    Unmarked,
}

/// Looks into a data directory.
pub(crate) fn data(folder: &Path) -> Result<Data> {
    let names = |folder: &Path| -> Result<Vec<PathBuf>> {
        match fs::read_dir(folder) {
            Ok(entries) => Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("cannot look into {}", folder.display())),
        }
    };
    // Where the directory is a volume's root it has this from the start.
    let found = names(folder)?.into_iter().any(|path| path.file_name().is_none_or(|name| name != "lost+found"));
    let log = names(&folder.join("member/wal"))?;
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wal");
    Ok(match (found, log.iter().any(is_log)) {
        (_, true) => Data::Whole,
        (true, false) => Data::HalfBorn,
        (false, false) => Data::Empty,
    })
}

/// Whose life the volume is marked with.
pub(crate) fn volume(life: Option<Nonce>) -> Result<Volume> {
    let mark = files::read_if_there(paths::LIFE)?;
    Ok(match mark {
        None => Volume::Unmarked,
        Some(mark) => match (String::from_utf8_lossy(&mark).trim().parse::<Nonce>(), life) {
            (Ok(mark), Some(life)) if mark == life => Volume::Known,
            _ => Volume::Other,
        },
    })
}

/// Marks the volume with a life.
pub(crate) fn mark(life: Nonce) -> Result<()> {
    Wanted::new(paths::LIFE, format!("{life}\n")).write()
}

/// Where data of this kind goes now.
pub(crate) fn aside(kind: &str) -> Result<PathBuf> {
    let now = OffsetDateTime::now_utc().format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
    Ok(Path::new(paths::ASIDE).join(format!("{kind}-{now}")))
}

/// Puts the data directory aside, if there is one; etcd must be down. It is never deleted.
pub(crate) fn put_aside(what: &str, journal: &mut Journal) -> Result<()> {
    if !Path::new(paths::DATA).exists() {
        return Ok(());
    }
    let to = aside(what)?;
    say(format!("{} goes to {}", paths::DATA, to.display()));
    journal.add(Event::Aside { path: to.clone() })?;
    Folder::new(paths::ASIDE, 0o700, ETCD).make()?;
    let rename = || -> std::io::Result<()> {
        fs::rename(paths::DATA, &to)?;
        files::sync(Path::new(paths::ASIDE))?;
        files::sync(Path::new(paths::VOLUME))
    };
    rename().with_context(|| format!("cannot move {} to {}", paths::DATA, to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_log_makes_a_member() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        assert_eq!(data(&path).unwrap(), Data::Empty);
        fs::create_dir_all(path.join("lost+found")).unwrap();
        assert_eq!(data(&path).unwrap(), Data::Empty);
        for half in ["member/snap", "member/wal.tmp", "member/wal"] {
            fs::create_dir_all(path.join(half)).unwrap();
            assert_eq!(data(&path).unwrap(), Data::HalfBorn, "{half}");
        }
        fs::write(path.join("member/wal/0.tmp"), "").unwrap();
        assert_eq!(data(&path).unwrap(), Data::HalfBorn);
        fs::write(path.join("member/wal/0000000000000000-0000000000000000.wal"), "").unwrap();
        assert_eq!(data(&path).unwrap(), Data::Whole);
    }
}
