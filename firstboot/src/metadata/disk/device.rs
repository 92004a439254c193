//! Reads bytes from a disk, and extracts numbers from these bytes.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::metadata::document::LIMIT;

/// The maximum number of bytes that firstboot reads from one disk, even if the disk's file system
/// is damaged.
const BUDGET: u64 = 16 * LIMIT;

/// An open disk, with a limit on the number of bytes that may be read from it.
#[derive(Debug)]
pub(super) struct Disk {
    file: File,
    left: Cell<u64>,
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file =
            File::open(path).with_context(|| format!("cannot open the disk {}", path.display()))?;
        Ok(Self {
            file,
            left: Cell::new(BUDGET),
        })
    }

    /// Reads `length` bytes at the offset `at`.
    pub(super) fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        let left = self.left.get().checked_sub(length as u64);
        self.left.set(
            left.context("its file system is damaged: a cluster chain or a folder has no end")?,
        );
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, at)
            .with_context(|| format!("cannot read {length} bytes at the offset {at}"))?;
        Ok(bytes)
    }
}

/// Checks the size of a file on a disk. Fails if the file is larger than the size limit for a node
/// document.
pub(super) fn checked_size(size: u32) -> Result<usize> {
    ensure!(
        u64::from(size) <= LIMIT,
        "the file has {size} bytes, but a node document has at most {LIMIT}"
    );
    Ok(usize::try_from(size)?)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(array(bytes, at)?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(array(bytes, at)?))
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(array) => Ok(*array),
        None => bail!("its file system is damaged: a record ends too early"),
    }
}
