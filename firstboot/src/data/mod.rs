//! etcd's data directory: what is there, whether it is what this member left there, and whether etcd may run on it.
//!
//! `judge` is the rule; firstboot goes by it when it decides how to go on, and the guard of etcd.service each time etcd is
//! about to start. `inode` tells a directory from a copy of it, `log` reads the write-ahead log, `observe` looks at all of
//! it, and `progress` remembers how far the log went when etcd last ran. `prepare` makes the directory for a first start.
//!
//! Everything here is etcd's, so its user may have put anything there: it is reached through open directories alone.

mod expected;
mod inode;
mod judge;
mod log;
mod observe;
mod prepare;
mod progress;

use std::path::Path;

use anyhow::Result;

pub(crate) use expected::{Expected, Ids, Known};
pub(crate) use inode::Inode;
pub(crate) use judge::{Lost, Verdict, judge};
pub(crate) use observe::{Contents, Seen, contents, flush_log};
pub(crate) use prepare::prepare;
pub(crate) use progress::Progress;
#[cfg(test)]
pub(crate) use {inode::Directories, log::Log};

use crate::paths;

/// Looks at etcd's data directory, and judges it. etcd must not be running.
pub(crate) fn look(expected: &Expected) -> Result<(Contents, Verdict)> {
    let seen = Seen::at(Path::new(paths::DATA))?;
    let progress = Progress::read(expected)?;
    Ok((seen.contents, judge(expected, &seen, progress.as_ref())))
}

/// Whether the directories of etcd's data are those that are known, whatever etcd does in them meanwhile. Where none are
/// known yet the answer is no.
pub(crate) fn is_in_place(expected: &Expected) -> Result<bool> {
    let Some(known) = &expected.known else { return Ok(false) };
    let now = observe::directories_of(Path::new(paths::DATA))?;
    Ok(now.is_some_and(|now| known.directories.exchanged(&now).is_none()))
}

/// The data in a folder that firstboot made or kept, to be known by from now on.
///
/// # Errors
/// Where a part of it is missing.
pub(crate) fn known(folder: &Path) -> Result<Known> {
    match judge(&Expected::default(), &Seen::at(folder)?, None) {
        Verdict::Begun(known) => Ok(known),
        verdict => anyhow::bail!("{} does not hold a member's data: {verdict:?}", folder.display()),
    }
}
