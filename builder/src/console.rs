//! Prints results on standard output, and notes and errors on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// Whether a report was printed as JSON.
static JSON_IS_PRINTED: AtomicBool = AtomicBool::new(false);

/// Prints a result. A reader such as `head` may close the pipe early, which is not a failure and
/// does not change the exit code.
///
/// # Errors
/// Fails if the text cannot be written. The error names the standard output, so that the user does
/// not conclude that the command's own work failed.
pub(crate) fn result(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|error| {
            let text = format!("the result could not be written to standard output: {error}");
            io::Error::new(error.kind(), text)
        }),
    }
}

/// Prints a command's report as text, or as JSON with `--json`.
pub(crate) fn report<T: Serialize + ?Sized>(
    value: &T,
    json: bool,
    text: impl FnOnce(&T) -> String,
) -> io::Result<()> {
    if json {
        JSON_IS_PRINTED.store(true, Ordering::Relaxed);
        result(serde_json::to_string_pretty(value)? + "\n")
    } else {
        result(text(value))
    }
}

/// Prints an error as one line of JSON on standard output, for a command with `--json`. Does nothing
/// if the command has already printed its report, because the report contains the reasons for the
/// error.
pub(crate) fn json_error(text: &str) {
    if !JSON_IS_PRINTED.load(Ordering::Relaxed) {
        let error = serde_json::json!({ "error": { "text": text } });
        // The caller prints the error on standard error afterwards.
        let _ = result(format_args!("{error}\n"));
    }
}

/// Prints a line for the operator on standard error. If the line cannot be printed, for example
/// because the disk is full, the program continues, whereas `eprintln!` would panic.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints an error on standard error. Like [`note`], this function ignores a failure to print.
pub(crate) fn error(text: impl Display) {
    note(format_args!("builder: {text}"));
}

/// Formats a count with its noun, whose plural must end with `s`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
