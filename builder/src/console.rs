//! Prints results on standard output, and errors on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints a result. A reader that closes the pipe, such as `head`, has read enough: that is not a
/// failure, and it does not change the exit code.
pub(crate) fn result(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Prints a line for the operator on standard error. If it cannot be printed, for example because
/// the disk is full, the program continues; `eprintln!` would end it.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints an error in the same way.
pub(crate) fn error(text: impl Display) {
    note(format_args!("builder: {text}"));
}

/// Returns a count with its noun. The noun's plural ends with `s`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
