//! The mark on etcd's volume: whether it is the volume that was there before.

use std::path::Path;

use anyhow::Result;

use crate::domain::Nonce;
use crate::files::{self, Kind, ROOT, Wanted};
use crate::paths;

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
