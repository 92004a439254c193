//! Writes new files of an output. The files have the right mode from the first byte on, under any
//! umask.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The mode of a public file of an output. Everyone can read such a file, because a web server
/// serves it.
pub(crate) const PUBLIC: u32 = 0o644;

/// The mode of a file that only its owner can read.
pub(crate) const SECRET: u32 = 0o600;

/// Writes a file that does not exist yet. The file is not synced here, because the commit of the
/// output syncs all files together.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)
}
