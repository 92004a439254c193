//! Removes the copy of the journal that the installer makes on etcd's volume before it formats `/`
//! (kickstart/scripts/keep-volume.sh). `%post` normally restores the journal from the copy and
//! removes the copy.

use std::path::Path;

use anyhow::Result;

use super::file::Journal;
use crate::files;
use crate::paths;

/// Removes the copy that remains if an installation ended before it formatted `/`. The node
/// continues with its own journal, so the copy becomes outdated. The copy also contains the node's
/// keys. A node without a journal keeps the copy for the next installation.
pub(crate) fn remove_installer_copy(journal: &Journal) -> Result<()> {
    if journal.entries.is_empty() {
        return Ok(());
    }
    for copy in paths::INSTALLER_COPIES.map(Path::new) {
        if files::exists(copy)? {
            files::remove_all(copy)?;
        }
    }
    Ok(())
}
