//! The builder's exit codes, which docs/exit-codes.md lists for the operator.

/// The reason why an error ends the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command failed. A failed build leaves the existing output unchanged.
    Failed = 1,
    /// The command line is wrong. clap also exits with this code.
    CommandLine = 2,
    /// The recipe or another checked file has errors. A command also exits with this code if a text
    /// file, such as the recipe, is too large or is not UTF-8.
    Recipe = 3,
    /// `verify`, `serve` or `pki show` found a problem, or `diff` found a difference.
    Different = 4,
    /// `status`: the cluster has its quorum, but at least one member has a fault or is not a
    /// healthy voter.
    Degraded = 5,
    /// `status`: the cluster has no quorum, or no member answered.
    NoQuorum = 6,
}

/// An error with its exit code.
#[derive(Debug)]
struct ExitError {
    exit: Exit,
    message: String,
}

impl std::fmt::Display for ExitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExitError {}

/// Creates an error that ends the program with `exit`.
pub(crate) fn exit_error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    ExitError {
        exit,
        message: message.into(),
    }
    .into()
}

/// Formats an error and its causes on one line. Many errors include their cause both in their own
/// text and as their source, so a cause that the preceding text already contains is omitted.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut out = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if out.is_empty() {
            out = cause;
        } else if !out.contains(&cause) {
            out = format!("{out}: {cause}");
        }
    }
    out
}

pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    error
        .downcast_ref::<ExitError>()
        .map_or(Exit::Failed, |stop| stop.exit) as u8
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("/pki/ca.crt: cannot read it: {0}")]
    struct Inner(#[source] std::io::Error);

    #[test]
    fn a_cause_is_reported_once() {
        let missing = || std::io::Error::from_raw_os_error(2);
        let error = anyhow::Error::from(Inner(missing()));
        assert_eq!(
            with_causes(&error),
            "/pki/ca.crt: cannot read it: No such file or directory (os error 2)"
        );
        let error = Err::<(), _>(missing())
            .context("cannot read a.toml")
            .unwrap_err();
        assert_eq!(
            with_causes(&error),
            "cannot read a.toml: No such file or directory (os error 2)"
        );
    }
}
