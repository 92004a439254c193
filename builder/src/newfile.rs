//! New files of an output: with the mode they should have under any umask, from the first byte on.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// For everybody to read: an image is handed out by a web server.
pub(crate) const PUBLIC: u32 = 0o644;

/// For its owner alone.
pub(crate) const SECRET: u32 = 0o600;

/// Writes a file that is not there yet. It is not synced: whoever completes the output does that,
/// once, for all of it.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)
}
