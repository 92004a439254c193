//! Decides whether etcd may run on the content of its data directory, as a pure function.
//!
//! A raft member must never forget which entries it has acknowledged and for which candidates it
//! has voted. Otherwise, writes that were acknowledged to a client can be lost
//! (etcd-io/etcd#10817). So once etcd has created its WAL, only the data that etcd itself left may
//! be used for that member. Any other data is treated like a new disk: firstboot removes the member
//! from its cluster and adds a new member.

use std::fmt;

use super::expected::{DataIdentity, Expected, Ids};
use super::observe::{Contents, DataDirState};
use super::progress::Progress;
use crate::reason::{Reason, ReasonId};

/// The verdict on a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The member's data, as etcd left it.
    Intact,
    /// The member's data, in which etcd has created its WAL. The journal does not record these
    /// directories yet.
    Begun(DataIdentity),
    /// The directory is empty, and etcd has never created a WAL in it.
    Fresh,
    /// The first start of etcd was interrupted before etcd had created a WAL. etcd refuses to start
    /// on the partial data.
    Incomplete,
    /// etcd must not start as this member with this data.
    Lost(Lost),
}

/// The reason why etcd must not start as this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The data was deleted.
    Emptied,
    /// A part of the data is missing.
    MissingPart(String),
    /// The named directory is not the directory that etcd created.
    Replaced(&'static str),
    /// The WAL belongs to another member.
    Foreign { member: u64, cluster: u64 },
    /// The WAL ends before an entry that this member has acknowledged.
    Behind(String),
}

impl Lost {
    /// Returns the reason to show to the operator.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Emptied => ReasonId::DataEmptied.because("etcd's data was deleted"),
            Self::MissingPart(what) => {
                ReasonId::DataIncomplete.because(format!("etcd's data is incomplete: {what}"))
            }
            Self::Replaced(path) => ReasonId::DataExchanged.because(format!(
                "{path} is not the directory that etcd created: the data was replaced or copied"
            )),
            Self::Foreign { member, cluster } => ReasonId::DataForeign.because(format!(
                "the data belongs to another member, {member:x} of the cluster {cluster:x}"
            )),
            Self::Behind(what) => ReasonId::DataBehind.because(format!(
                "the data is older than what this member has acknowledged: {what}"
            )),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

/// Decides whether etcd may run on a data directory.
pub(crate) fn judge(
    expected: &Expected,
    found: &DataDirState,
    progress: Option<&Progress>,
) -> Verdict {
    let Some(known) = &expected.identity else {
        return judge_first_start(expected, found);
    };
    match check_known_data(known, found, progress) {
        Ok(()) => Verdict::Intact,
        Err(lost) => Verdict::Lost(lost),
    }
}

/// Returns the verdict on a data directory for which the journal does not record yet that etcd has
/// created its WAL.
fn judge_first_start(expected: &Expected, found: &DataDirState) -> Verdict {
    let same = match (&expected.created, &found.data) {
        (Some(made), Some(data)) => made.is_same(data),
        (Some(_), None) => false,
        // firstboot was interrupted before it created the directory, or the journal was written by
        // an older version, which did not create a directory.
        (None, _) => true,
    };
    if !same {
        return Verdict::Lost(match found.contents {
            Contents::Empty => Lost::Emptied,
            _ => Lost::Replaced("data"),
        });
    }
    match (found.contents, found.directories, &found.wal) {
        (Contents::Empty, ..) => Verdict::Fresh,
        (Contents::NoWal, ..) => Verdict::Incomplete,
        (Contents::HasWal, Some(directories), Ok(wal)) => {
            let Ids { member, cluster } = expected.ids;
            if member.is_some_and(|id| id != wal.member)
                || cluster.is_some_and(|id| id != wal.cluster)
            {
                return Verdict::Lost(Lost::Foreign {
                    member: wal.member,
                    cluster: wal.cluster,
                });
            }
            Verdict::Begun(DataIdentity {
                directories,
                member: wal.member,
                cluster: wal.cluster,
            })
        }
        (Contents::HasWal, None, _) => {
            Verdict::Lost(Lost::MissingPart("member/snap is missing".to_owned()))
        }
        (Contents::HasWal, _, Err(why)) => Verdict::Lost(Lost::MissingPart(why.clone())),
    }
}

fn check_known_data(
    known: &DataIdentity,
    found: &DataDirState,
    progress: Option<&Progress>,
) -> Result<(), Lost> {
    if found.contents == Contents::Empty {
        return Err(Lost::Emptied);
    }
    let part = |what: &str| Lost::MissingPart(what.to_owned());
    let wal = found.wal.as_ref().map_err(|why| part(why))?;
    let directories = found
        .directories
        .as_ref()
        .ok_or_else(|| part("member/snap is missing"))?;
    if (wal.member, wal.cluster) != (known.member, known.cluster) {
        return Err(Lost::Foreign {
            member: wal.member,
            cluster: wal.cluster,
        });
    }
    if let Some(path) = known.directories.first_replaced(directories) {
        return Err(Lost::Replaced(path));
    }
    let applied = *found.applied.as_ref().map_err(|why| part(why))?;
    // etcd always writes the WAL before the database.
    if wal.last < applied {
        let last = wal.last;
        return Err(Lost::Behind(format!(
            "its WAL ends at entry {last}, but its database contains entry {applied}"
        )));
    }
    progress.map_or(Ok(()), |progress| {
        progress.compare(wal).map_err(Lost::Behind)
    })
}

#[cfg(test)]
mod tests;
