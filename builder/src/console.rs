//! Prints results on standard output, and errors on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use serde::Serialize;

/// Prints a result. If a reader such as `head` closes the pipe, it has read enough. This is not a
/// failure and does not change the exit code.
pub(crate) fn result(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Prints a command's report: its text, or, for `--json`, the value as JSON.
pub(crate) fn report<T: Serialize + ?Sized>(
    value: &T,
    json: bool,
    text: impl FnOnce(&T) -> String,
) -> io::Result<()> {
    if json {
        result(serde_json::to_string_pretty(value)? + "\n")
    } else {
        result(text(value))
    }
}

/// Prints a line for the operator on standard error. If the line cannot be printed, for example
/// because the disk is full, the program continues. `eprintln!` would end it.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints an error on standard error, as [`note`] prints a line.
pub(crate) fn error(text: impl Display) {
    note(format_args!("builder: {text}"));
}

/// Formats a count with its noun, whose plural must end with `s`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
