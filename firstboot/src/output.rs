//! Writes the output of firstboot, one line for each fact. firstboot.service sends its output to
//! the console and to the systemd journal. `systemctl status` shows the newest line.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::reason_of;

/// Whether standard output is reserved for the result in JSON.
static STDOUT_IS_JSON: AtomicBool = AtomicBool::new(false);

/// Whether the result has been printed in JSON.
static JSON_IS_PRINTED: AtomicBool = AtomicBool::new(false);

/// Reserves standard output for the result in JSON, so that `say` prints on standard error.
pub(crate) fn keep_stdout_for_json() {
    STDOUT_IS_JSON.store(true, Ordering::Relaxed);
}

/// Prints the result of a command on standard output. Does not fail if the reader of a pipe exits
/// early (`| head`).
pub(crate) fn show(text: &str) -> std::io::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints the result of a command as JSON on standard output. A command calls this function at most
/// once.
pub(crate) fn show_json<T: serde::Serialize + ?Sized>(result: &T) -> anyhow::Result<()> {
    JSON_IS_PRINTED.store(true, Ordering::Relaxed);
    Ok(show(&(serde_json::to_string_pretty(result)? + "\n"))?)
}

/// Prints an error as JSON on standard output, for a command with `--json`. Does nothing if the
/// command has already printed its result, because the printed result contains the reasons for the
/// error.
pub(crate) fn show_error(error: &anyhow::Error) {
    if JSON_IS_PRINTED.load(Ordering::Relaxed) {
        return;
    }
    let error = serde_json::json!({ "error": reason_of(error) });
    // The caller prints the error on standard error afterwards.
    let _ = show(&format!("{error:#}\n"));
}

/// Prints a line, and makes it the unit's status line. `println!` and `eprintln!` would panic, and
/// so end the program, if the line could not be written, for example because the terminal was
/// closed.
pub(crate) fn say(line: impl AsRef<str>) {
    let text = format!("{}\n", line.as_ref());
    let _ = if STDOUT_IS_JSON.load(Ordering::Relaxed) {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
    crate::systemd::notify_status(line.as_ref());
}

/// Prints a command's final error on standard error. Like [`say`], this function does not end the
/// program if the line cannot be written.
pub(crate) fn say_error(line: &str) {
    let _ = std::io::stderr().write_all(format!("firstboot: {line}\n").as_bytes());
}
