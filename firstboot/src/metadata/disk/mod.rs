//! Finds labelled disks and reads the files on them. firstboot reads FAT and ISO 9660 itself.
//! Therefore, the kernel's file systems do not process an untrusted disk, and firstboot does not
//! need any kernel module.

mod device;
mod fat;
mod iso;
mod label;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Result;

use self::device::Disk;

pub(super) fn labelled(label: &str) -> Result<Vec<PathBuf>> {
    label::find(Path::new("/dev/disk/by-label"), label)
}

/// Returns the content of a file on a disk, or `None` if the disk does not contain the file. `path`
/// is relative to the disk's root, with `/` between names.
pub(super) fn read(disk: &Path, path: &str) -> Result<Option<Vec<u8>>> {
    let disk = Disk::open(disk)?;
    if iso::is_iso(&disk) {
        iso::read(&disk, path)
    } else {
        fat::read(&disk, path)
    }
}
