//! What firstboot says while it works: one line a fact, to the console and the journal (firstboot.service sends
//! its output to both) and, the newest one, to `systemctl status`.

/// Says what was done or found.
pub(crate) fn say(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
    crate::systemd::status(line.as_ref());
}
