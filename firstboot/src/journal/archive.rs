//! Archives data that etcd no longer uses, instead of deleting the data.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use time::OffsetDateTime;
use time::macros::format_description;

use super::event::Event;
use super::file::Journal;
use crate::files::{self, DesiredDir, ROOT};
use crate::output::say;
use crate::paths;

/// The reason why firstboot archives data. The name of the archived folder begins with this reason.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ArchiveReason {
    /// etcd's first start was interrupted, and the data is partial.
    FirstStartInterrupted,
    /// etcd must not start on the data.
    Unusable,
    /// The member has left its cluster.
    Left,
    /// The node joins again after its member was removed.
    Removed,
    /// A restore or a rollback replaces the data.
    Restore,
}

impl fmt::Display for ArchiveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstStartInterrupted => "half-born",
            Self::Unusable => "lost",
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Restore => "before-restore",
        })
    }
}

/// Returns a new path in the archive. The path contains the reason and the current time.
pub(crate) fn archive_path(reason: ArchiveReason) -> Result<PathBuf> {
    let now = OffsetDateTime::now_utc().format(format_description!(
        "[year][month][day]T[hour][minute][second]Z"
    ))?;
    Ok(Path::new(paths::ARCHIVE).join(format!("{reason}-{now}")))
}

/// If the data directory exists, records its move in the journal, and then moves the directory to
/// the archive. etcd must be stopped.
pub(crate) fn archive_data(reason: ArchiveReason, journal: &mut Journal) -> Result<()> {
    let data = Path::new(paths::DATA);
    if !files::exists(data)? {
        return Ok(());
    }
    let to = archive_path(reason)?;
    say(format!("moving {} to {}", paths::DATA, to.display()));
    journal.add(Event::DataArchived { path: to.clone() })?;
    DesiredDir::new(paths::ARCHIVE, 0o700, ROOT).make()?;
    files::rename(data, &to)
}
