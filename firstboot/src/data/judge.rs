//! Whether etcd may run on what is in its data directory, as a pure function.
//!
//! A raft member must never forget what it has acknowledged or voted for. Where it does, entries that a client was told are
//! kept can be overwritten (etcd-io/etcd#10817). So from the moment that etcd's log exists, only the data that etcd left
//! behind may be that member again, and all else is as a new disk: the member is removed from its cluster, and another joins.

use std::fmt;

use super::expected::{Expected, Ids, Known};
use super::observe::{Contents, Seen};
use super::progress::Progress;

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the member's data, as etcd left it.
    Intact,
    /// etcd has made its log in it, and it is the member's; firstboot has yet to write down which directories these are.
    Begun(Known),
    /// It is empty, and etcd has never made a log in it.
    Fresh,
    /// etcd's first start was cut short before there was a log: etcd would refuse what it left.
    CutShort,
    /// It must not begin as this member.
    Lost(Lost),
}

/// Why data must not begin as this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nothing is there any more.
    Emptied,
    /// A part is missing.
    Part(String),
    /// A directory is another than the one that etcd made.
    Exchanged(&'static str),
    /// The log is another member's.
    Foreign { member: u64, cluster: u64 },
    /// The log ends before what this member is known to have had.
    Behind(String),
}

impl Lost {
    /// A name for programs and documentation.
    pub(crate) fn id(&self) -> &'static str {
        match self {
            Self::Emptied => "data-emptied",
            Self::Part(_) => "data-incomplete",
            Self::Exchanged(_) => "data-exchanged",
            Self::Foreign { .. } => "data-foreign",
            Self::Behind(_) => "data-behind",
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emptied => f.write_str("etcd's data was removed")?,
            Self::Part(what) => write!(f, "a part of etcd's data is missing: {what}")?,
            Self::Exchanged(path) => {
                write!(f, "{path} is not the directory that etcd made: the data was exchanged or copied")?;
            }
            Self::Foreign { member, cluster } => {
                write!(f, "the data is that of another member, {member:x} of the cluster {cluster:x}")?;
            }
            Self::Behind(what) => write!(f, "the data is older than this member was: {what}")?,
        }
        write!(f, " [{}]", self.id())
    }
}

/// The rule.
pub(crate) fn judge(expected: &Expected, seen: &Seen, progress: Option<&Progress>) -> Verdict {
    let Some(known) = &expected.known else { return first(expected, seen) };
    match intact(known, seen, progress) {
        Ok(()) => Verdict::Intact,
        Err(lost) => Verdict::Lost(lost),
    }
}

/// Before etcd is known to have made its log.
fn first(expected: &Expected, seen: &Seen) -> Verdict {
    let same = match (&expected.made, &seen.data) {
        (Some(made), Some(data)) => made.is_same(data),
        (Some(_), None) => false,
        // firstboot had no time to make one; or this journal is of a version that made none.
        (None, _) => true,
    };
    if !same {
        return Verdict::Lost(match seen.contents {
            Contents::Empty => Lost::Emptied,
            _ => Lost::Exchanged("data"),
        });
    }
    match (seen.contents, seen.directories, &seen.log) {
        (Contents::Empty, ..) => Verdict::Fresh,
        (Contents::NoLog, ..) => Verdict::CutShort,
        (Contents::Log, Some(directories), Ok(log)) => {
            let Ids { member, cluster } = expected.ids;
            if member.is_some_and(|id| id != log.member) || cluster.is_some_and(|id| id != log.cluster) {
                return Verdict::Lost(Lost::Foreign { member: log.member, cluster: log.cluster });
            }
            Verdict::Begun(Known { directories, member: log.member, cluster: log.cluster })
        }
        (Contents::Log, None, _) => Verdict::Lost(Lost::Part("member/snap is not there".to_owned())),
        (Contents::Log, _, Err(why)) => Verdict::Lost(Lost::Part(why.clone())),
    }
}

fn intact(known: &Known, seen: &Seen, progress: Option<&Progress>) -> Result<(), Lost> {
    if seen.contents == Contents::Empty {
        return Err(Lost::Emptied);
    }
    let part = |what: &str| Lost::Part(what.to_owned());
    let log = seen.log.as_ref().map_err(|why| part(why))?;
    let directories = seen.directories.as_ref().ok_or_else(|| part("member/snap is not there"))?;
    if (log.member, log.cluster) != (known.member, known.cluster) {
        return Err(Lost::Foreign { member: log.member, cluster: log.cluster });
    }
    if let Some(path) = known.directories.exchanged(directories) {
        return Err(Lost::Exchanged(path));
    }
    let applied = *seen.applied.as_ref().map_err(|why| part(why))?;
    // The log is always written before the database.
    if log.last < applied {
        let last = log.last;
        return Err(Lost::Behind(format!(
            "its log ends with the entry {last}, and its database has the entry {applied}"
        )));
    }
    progress.map_or(Ok(()), |progress| progress.compare(log).map_err(Lost::Behind))
}

#[cfg(test)]
mod tests;
