//! Decides whether etcd's data directory contains the data that this member left, and whether etcd
//! may run on that data.
//!
//! `check` contains the rule by which firstboot decides how etcd starts. The guard of etcd.service
//! applies this rule before each start. `inode` distinguishes a directory from a copy, `wal` reads
//! the write-ahead log, `v2_requests` finds entries of that log that etcd 3.7 cannot read,
//! `observe` collects all facts about the directory, and `wal_checkpoint` records the end of the
//! WAL at etcd's last start and stop. `create` creates the directory for the first start.
//!
//! The directory belongs to etcd's user, which can replace any entry in it. Therefore, firstboot
//! opens the content only relative to directories that are already open.

mod check;
mod create;
mod inode;
mod observe;
mod recorded;
mod v2_requests;
mod wal;
mod wal_checkpoint;

use std::path::Path;

use anyhow::Result;

pub(crate) use check::{DataCheck, UnusableData, check_data};
pub(crate) use create::create_data_dir;
#[cfg(test)]
pub(crate) use inode::Directories;
pub(crate) use inode::Inode;
pub(crate) use observe::{Contents, DataDirState, contents, flush_wal};
pub(crate) use recorded::{DataIdentity, Ids, RecordedData};
pub(crate) use v2_requests::reads_v2_requests;
pub(crate) use wal::WalEnd;
pub(crate) use wal_checkpoint::WalCheckpoint;

use crate::paths;

/// Reads etcd's data directory and checks the data. While etcd is running, the end of the WAL may
/// look wrong, so a caller that finds a fault stops etcd and checks again.
pub(crate) fn inspect(expected: &RecordedData) -> Result<(Contents, DataCheck)> {
    let found = DataDirState::at(Path::new(paths::DATA))?;
    let checkpoint = WalCheckpoint::read(expected)?;
    Ok((
        found.contents,
        check_data(expected, &found, checkpoint.as_ref()),
    ))
}

/// Returns whether the directories of etcd's data are the recorded directories. Returns `false` if
/// no directories are recorded yet. etcd may be running.
pub(crate) fn is_in_place(expected: &RecordedData) -> Result<bool> {
    let Some(known) = &expected.identity else {
        return Ok(false);
    };
    let now = observe::directories_of(Path::new(paths::DATA))?;
    Ok(now.is_some_and(|now| known.directories.first_replaced(&now).is_none()))
}

/// Returns the lowest minor version of etcd that can open the data in a folder, if the data contains
/// that information. etcd must not be running on the data.
pub(crate) fn needed_minor(folder: &Path) -> Option<u64> {
    observe::needed_minor(folder).ok().flatten()
}

/// Returns the identity of the data in a folder that firstboot built or archived.
///
/// # Errors
/// Fails if a part of the data is missing.
pub(crate) fn identity_of(folder: &Path) -> Result<DataIdentity> {
    match check_data(&RecordedData::default(), &DataDirState::at(folder)?, None) {
        DataCheck::IntactUnrecorded(known) => Ok(known),
        check => anyhow::bail!(
            "{} does not contain a member's data: {check:?}",
            folder.display()
        ),
    }
}
