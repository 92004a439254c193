//! Archives data that etcd no longer uses. firstboot moves such data and never deletes it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use time::OffsetDateTime;
use time::macros::format_description;

use super::event::Event;
use super::file::Journal;
use crate::files::{self, DesiredDir, ROOT};
use crate::output::say;
use crate::paths;

/// Returns the path in the archive for data that is archived now. `kind` names the reason.
pub(crate) fn archive_path(kind: &str) -> Result<PathBuf> {
    let now = OffsetDateTime::now_utc().format(format_description!(
        "[year][month][day]T[hour][minute][second]Z"
    ))?;
    Ok(Path::new(paths::ARCHIVE).join(format!("{kind}-{now}")))
}

/// Moves the data directory to the archive, if the directory exists. etcd must be stopped.
pub(crate) fn archive_data(what: &str, journal: &mut Journal) -> Result<()> {
    let data = Path::new(paths::DATA);
    if !files::exists(data)? {
        return Ok(());
    }
    let to = archive_path(what)?;
    say(format!("moving {} to {}", paths::DATA, to.display()));
    journal.add(Event::DataArchived { path: to.clone() })?;
    DesiredDir::new(paths::ARCHIVE, 0o700, ROOT).make()?;
    files::rename(data, &to)
}
