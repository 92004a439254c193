//! Why builder ends, as exit codes; docs/exit-codes.md has them for the operator.

/// The reason an error ends the program with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The build failed; the output is as it was before.
    Failed = 1,
    /// The recipe has errors.
    Recipe = 3,
    /// `verify` or `pki show` found something that is not as it should be.
    Different = 4,
}

/// An error that knows its exit code.
#[derive(Debug)]
struct Stop {
    exit: Exit,
    message: String,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Stop {}

/// An error that ends with `exit`.
pub(crate) fn stop(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Stop { exit, message: message.into() }.into()
}

/// The exit code of an error.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Stop>().map_or(Exit::Failed, |stop| stop.exit) as u8
}
