//! etcd's volume as the barrier sees it: is it the volume that was there before; and what is put aside on it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use time::OffsetDateTime;
use time::macros::format_description;

use super::epoch::Nonce;
use crate::files::{self, Folder, Kind, ROOT, Wanted};
use crate::journal::{Event, Journal};
use crate::paths;
use crate::say::say;

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

/// Whose life the volume is marked with.
pub(crate) fn volume(life: Option<Nonce>) -> Result<Volume> {
    let path = Path::new(paths::LIFE);
    // Earlier versions kept the mark where etcd could write. Only root's is one.
    let ours = files::look(path)?.filter(|there| there.kind == Kind::File && there.owner == ROOT && there.links == 1);
    let mark = if ours.is_some() { files::read_if_there(path)? } else { None };
    Ok(match mark {
        None => Volume::Unmarked,
        Some(mark) => match (String::from_utf8_lossy(&mark).trim().parse::<Nonce>(), life) {
            (Ok(mark), Some(life)) if mark == life => Volume::Known,
            _ => Volume::Other,
        },
    })
}

/// Marks the volume with a life, unless it bears that mark.
pub(crate) fn mark(life: Nonce) -> Result<()> {
    let mark = Wanted::new(paths::LIFE, format!("{life}\n"));
    if volume(Some(life))? == Volume::Known && mark.stands()? { Ok(()) } else { mark.write() }
}

/// Where data of this kind goes now.
pub(crate) fn aside(kind: &str) -> Result<PathBuf> {
    let now = OffsetDateTime::now_utc().format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
    Ok(Path::new(paths::ASIDE).join(format!("{kind}-{now}")))
}

/// Puts the data directory aside, if there is one; etcd must be down. It is never deleted.
pub(crate) fn put_aside(what: &str, journal: &mut Journal) -> Result<()> {
    let data = Path::new(paths::DATA);
    if !files::exists(data)? {
        return Ok(());
    }
    let to = aside(what)?;
    say(format!("{} goes to {}", paths::DATA, to.display()));
    journal.add(Event::Aside { path: to.clone() })?;
    Folder::new(paths::ASIDE, 0o700, ROOT).make()?;
    files::rename(data, &to)
}
