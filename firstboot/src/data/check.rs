//! Decides, as a pure function, whether etcd may run on the data in its data directory.
//!
//! A raft member must never forget which entries it has acknowledged and for which candidates it
//! has voted. If a member forgets an entry or a vote, writes that were acknowledged to a client can
//! be lost (etcd-io/etcd#10817). Therefore, after etcd has created its WAL, the member may run only
//! on the data that etcd itself left. If the member has any other data, firstboot removes the
//! member from its cluster and adds a new member.

use std::fmt;

use super::observe::{Contents, DataDirState};
use super::recorded::{DataIdentity, Ids, RecordedData};
use super::wal_checkpoint::WalCheckpoint;
use crate::reason::{Reason, ReasonId};

/// The result of checking a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DataCheck {
    /// The member's data, as etcd left it.
    Intact,
    /// The member's data, as etcd or a restore left it, but the journal does not record the data's
    /// directories yet.
    IntactUnrecorded(DataIdentity),
    /// The directory is empty or missing, and etcd has never created a WAL.
    Unused,
    /// The first start of etcd was interrupted before etcd had created a WAL. etcd refuses to start
    /// on the partial data.
    Incomplete,
    /// etcd must not start as this member with this data.
    Unusable(UnusableData),
}

/// The reason why etcd must not start as this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnusableData {
    Deleted,
    /// A part of the data is missing.
    MissingPart(String),
    /// The named directory is not the directory that etcd or firstboot created.
    Replaced(&'static str),
    /// The WAL belongs to another member.
    OtherMember {
        member: u64,
        cluster: u64,
    },
    /// The data is older than a state that this member has acknowledged.
    Outdated(String),
}

impl UnusableData {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Deleted => ReasonId::DataEmptied.because("etcd's data was deleted"),
            Self::MissingPart(what) => {
                ReasonId::DataIncomplete.because(format!("etcd's data is incomplete: {what}"))
            }
            Self::Replaced(path) => ReasonId::DataExchanged.because(format!(
                "{path} is not the original directory: the data was replaced or copied"
            )),
            Self::OtherMember { member, cluster } => ReasonId::DataForeign.because(format!(
                "the data belongs to another member, {member:x} of the cluster {cluster:x}"
            )),
            Self::Outdated(what) => ReasonId::DataBehind.because(format!(
                "the data is older than the newest state that this member has acknowledged: {what}"
            )),
        }
    }
}

impl fmt::Display for UnusableData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

pub(crate) fn check_data(
    expected: &RecordedData,
    found: &DataDirState,
    checkpoint: Option<&WalCheckpoint>,
) -> DataCheck {
    let Some(known) = &expected.identity else {
        return check_first_start(expected, found);
    };
    match check_known_data(known, found, checkpoint) {
        Ok(()) => DataCheck::Intact,
        Err(why) => DataCheck::Unusable(why),
    }
}

/// Checks a data directory while the journal does not yet record that etcd has created its WAL.
fn check_first_start(expected: &RecordedData, found: &DataDirState) -> DataCheck {
    let same = match (&expected.created, &found.data) {
        (Some(made), Some(data)) => made.is_same(data),
        (Some(_), None) => false,
        // Either firstboot was interrupted before it created the directory, or the journal is from
        // an earlier version, which did not create a directory.
        (None, _) => true,
    };
    if !same {
        return DataCheck::Unusable(match found.contents {
            Contents::Empty => UnusableData::Deleted,
            _ => UnusableData::Replaced("data"),
        });
    }
    match (found.contents, found.directories, &found.wal) {
        (Contents::Empty, ..) => DataCheck::Unused,
        (Contents::NoWal, ..) => DataCheck::Incomplete,
        (Contents::HasWal, Some(directories), Ok(wal)) => {
            let Ids { member, cluster } = expected.ids;
            if member.is_some_and(|id| id != wal.member)
                || cluster.is_some_and(|id| id != wal.cluster)
            {
                return DataCheck::Unusable(UnusableData::OtherMember {
                    member: wal.member,
                    cluster: wal.cluster,
                });
            }
            DataCheck::IntactUnrecorded(DataIdentity {
                directories,
                member: wal.member,
                cluster: wal.cluster,
            })
        }
        (Contents::HasWal, None, _) => DataCheck::Unusable(UnusableData::MissingPart(
            "member/snap is missing".to_owned(),
        )),
        (Contents::HasWal, _, Err(why)) => {
            DataCheck::Unusable(UnusableData::MissingPart(why.clone()))
        }
    }
}

fn check_known_data(
    known: &DataIdentity,
    found: &DataDirState,
    checkpoint: Option<&WalCheckpoint>,
) -> Result<(), UnusableData> {
    if found.contents == Contents::Empty {
        return Err(UnusableData::Deleted);
    }
    let part = |what: &str| UnusableData::MissingPart(what.to_owned());
    let wal = found.wal.as_ref().map_err(|why| part(why))?;
    let directories = found
        .directories
        .as_ref()
        .ok_or_else(|| part("member/snap is missing"))?;
    if (wal.member, wal.cluster) != (known.member, known.cluster) {
        return Err(UnusableData::OtherMember {
            member: wal.member,
            cluster: wal.cluster,
        });
    }
    if let Some(path) = known.directories.first_replaced(directories) {
        return Err(UnusableData::Replaced(path));
    }
    let applied = *found.applied.as_ref().map_err(|why| part(why))?;
    // etcd always writes the WAL before the database.
    if wal.last < applied {
        let last = wal.last;
        return Err(UnusableData::Outdated(format!(
            "its WAL ends at entry {last}, but its database contains entry {applied}"
        )));
    }
    checkpoint.map_or(Ok(()), |checkpoint| {
        checkpoint.compare(wal).map_err(UnusableData::Outdated)
    })
}

#[cfg(test)]
mod tests;
