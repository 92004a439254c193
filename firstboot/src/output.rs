//! What firstboot says while it works: one line a fact, to the console and the journal (firstboot.service sends
//! its output to both) and, the newest one, to `systemctl status`.

/// Prints an answer on standard output. A reader that has seen enough and is gone (`| head`) is no error.
pub(crate) fn show(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Says what was done or found.
pub(crate) fn say(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
    crate::systemd::status(line.as_ref());
}
