//! Defines the exit codes of firstboot. docs/exit-codes.md explains the codes to the operator.

use std::process::ExitCode;

use crate::reason::{Reason, ReasonId};

/// The exit codes other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// An unexpected failure, such as a bug, or a machine that cannot write to its own disk.
    Failed = 1,
    /// This machine, its image or its metadata is wrong, so another attempt would also fail.
    Refused = 3,
    /// A precondition is not met yet: for example, another member does not answer, or another
    /// firstboot is running. Another attempt may succeed, and systemd starts firstboot again.
    NotReady = 4,
    /// `status`: the cluster has a quorum, but a member is not a healthy voter, or has a fault.
    /// `snapshot`: the snapshot was taken, but the members' data differs.
    Degraded = 5,
    /// `status`: the cluster has no quorum, or no member answered.
    NoQuorum = 6,
    /// `update --check`: a newer image or node document is available.
    Newer = 7,
    /// `update`: the new image failed its health check, and the node runs its previous image again.
    Reverted = 8,
    /// `update`: the new image failed its health check, but the node keeps the new image, because
    /// the etcd of the previous image cannot start with the member's data.
    Kept = 9,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that determines the exit code of the program. If an error's chain contains more than
/// one `ExitError`, the outermost `ExitError` determines the code.
#[derive(Debug)]
pub(crate) struct ExitError {
    pub(crate) exit: Exit,
    pub(crate) reason: Reason,
}

impl std::fmt::Display for ExitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for ExitError {}

/// Creates an error that makes the program exit with [`Exit::Refused`].
pub(crate) fn refused(reason: impl Into<Reason>) -> anyhow::Error {
    ExitError {
        exit: Exit::Refused,
        reason: reason.into(),
    }
    .into()
}

/// Creates an error that makes the program exit with [`Exit::NotReady`].
pub(crate) fn not_ready(reason: impl Into<Reason>) -> anyhow::Error {
    ExitError {
        exit: Exit::NotReady,
        reason: reason.into(),
    }
    .into()
}

/// Creates an error that makes the program exit with [`Exit::Failed`].
pub(crate) fn failed(reason: impl Into<Reason>) -> anyhow::Error {
    ExitError {
        exit: Exit::Failed,
        reason: reason.into(),
    }
    .into()
}

/// Returns the exit code of an error.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    error
        .downcast_ref::<ExitError>()
        .map_or(Exit::Failed, |error| error.exit)
}

/// Returns the id of an error, if it has one.
pub(crate) fn id_of(error: &anyhow::Error) -> Option<ReasonId> {
    error.downcast_ref::<ExitError>()?.reason.id
}

/// Returns the id and the text of an error, with its context.
pub(crate) fn reason_of(error: &anyhow::Error) -> Reason {
    let id = id_of(error);
    let line = format!("{error:#}");
    let suffix = id.map_or_else(String::new, |id| format!(" [{id}]"));
    Reason {
        id,
        text: line.strip_suffix(&suffix).unwrap_or(&line).to_owned(),
    }
}
