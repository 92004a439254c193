//! Why firstboot ends, as exit codes: each means one thing. docs/exit-codes.md has them for the operator.

use std::process::ExitCode;

/// The reason an error ends the program with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed that should not: a bug, or a machine that cannot write its own disk.
    Failed = 1,
    /// This machine, its image or its metadata is wrong; trying again changes nothing.
    Refused = 3,
    /// Something outside is not there yet; trying again may help, and systemd does.
    NotReady = 4,
    /// `status`: the cluster has its quorum, but not every member is well.
    Degraded = 5,
    /// `status`: the cluster has no quorum, or none could be asked.
    NoQuorum = 6,
    /// `update --check`: a newer image is there.
    Newer = 7,
    /// `update`: the new image did not prove itself, and the node has its previous image again.
    TakenBack = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that knows which exit code it ends with. The first one in an error's chain decides.
#[derive(Debug)]
pub(crate) struct ExitError {
    pub(crate) exit: Exit,
    message: String,
}

impl std::fmt::Display for ExitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExitError {}

/// An error that ends with [`Exit::Refused`].
pub(crate) fn refused(message: impl Into<String>) -> anyhow::Error {
    ExitError { exit: Exit::Refused, message: message.into() }.into()
}

/// An error that ends with [`Exit::NotReady`].
pub(crate) fn not_ready(message: impl Into<String>) -> anyhow::Error {
    ExitError { exit: Exit::NotReady, message: message.into() }.into()
}

/// An error that ends with [`Exit::Failed`].
pub(crate) fn failed(message: impl Into<String>) -> anyhow::Error {
    ExitError { exit: Exit::Failed, message: message.into() }.into()
}

/// The exit code of an error.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<ExitError>().map_or(Exit::Failed, |stop| stop.exit)
}
