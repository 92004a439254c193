//! Results, on standard output, and trouble, on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints a result. Whoever closes the pipe, as `head` does, has read enough: that is no failure,
/// and what the exit code says is not changed by it.
pub(crate) fn result(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Prints a line for the operator on standard error. Where it cannot be printed, as on a full disk,
/// the program goes on all the same: `eprintln!` would end it.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The same for what went wrong.
pub(crate) fn error(text: impl Display) {
    note(format_args!("builder: {text}"));
}

/// A count with its noun, whose plural ends with `s`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
