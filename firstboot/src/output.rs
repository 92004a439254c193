//! The output of firstboot: one line for each fact, on the console and in the systemd journal
//! (firstboot.service sends its output to both). `systemctl status` shows the newest line.

use crate::exit::reason_of;

/// Prints the result of a command on standard output. A reader that closes the pipe early (`|
/// head`) is not an error.
pub(crate) fn show(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints an error as JSON on standard output, for a command with `--json`.
pub(crate) fn show_error(error: &anyhow::Error) {
    let error = serde_json::json!({ "error": reason_of(error) });
    // The error itself follows on standard error.
    let _ = show(&format!("{error:#}\n"));
}

/// Logs a fact.
pub(crate) fn say(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
    crate::systemd::status(line.as_ref());
}
