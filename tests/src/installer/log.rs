//! Writes anaconda's own logs, which are in the installer's /tmp.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Appends a message to one of anaconda's logs (anaconda_log.py).
pub(super) fn write(root: &Path, file: &str, message: &str) -> Result<()> {
    let path = root.join("tmp").join(file);
    let mut log = File::options().create(true).append(true).open(&path)?;
    for line in message.lines() {
        writeln!(log, "03:00:00,000 ERR anaconda: {line}")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
