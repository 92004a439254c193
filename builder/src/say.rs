//! Results, on standard output.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints a result. Whoever closes the pipe, as `head` does, has read enough: that is no failure, and what the exit
/// code says is not changed by it.
pub(crate) fn result(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
