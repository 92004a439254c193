//! Reads the bytes of a database from a file or from memory.

use std::fs::File;
use std::io;

/// Bytes that can be read at any offset.
pub trait ReadAt {
    /// Fills the buffer with the bytes at this offset, or fails.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!(
                    "from byte {offset} on: \
                 {error}"
                ),
            )
        })
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let found = start.and_then(|start| self.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The number of bytes of consecutive pages that are read in one call. A separate call for each
/// page would take longer than the check of the page.
const AHEAD: usize = 64 << 10;
/// A read that begins fewer than this many bytes after the end of the previous read counts as
/// sequential.
const NEAR: u64 = 32 << 10;

/// A reader of a file's pages. The reader reads ahead while pages are requested in the order in
/// which they are stored. Sequential requests are common, because data that was written in key
/// order is also stored in key order.
pub(crate) struct Pages<'f, R: ReadAt + ?Sized> {
    file: &'f R,
    /// The end of the file's last page.
    end: u64,
    ahead: Vec<u8>,
    ahead_at: u64,
    /// The end of the previous read.
    next: u64,
}

impl<'f, R: ReadAt + ?Sized> Pages<'f, R> {
    pub(crate) fn of(file: &'f R, end: u64) -> Self {
        Self {
            file,
            end,
            ahead: Vec::new(),
            ahead_at: 0,
            next: 0,
        }
    }

    /// Returns the total length of all pages in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Fills the buffer with the bytes stored at this offset.
    pub(crate) fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let row = offset
            .checked_sub(self.next)
            .is_some_and(|skipped| skipped < NEAR);
        self.next = offset + buffer.len() as u64;
        if self.copy(buffer, offset) {
            return Ok(());
        }
        let left = usize::try_from(self.end.saturating_sub(offset))
            .unwrap_or(AHEAD)
            .min(AHEAD);
        if !row || buffer.len() > left {
            return self.file.read_exact_at(buffer, offset);
        }
        self.ahead.resize(left, 0);
        self.ahead_at = offset;
        if self.file.read_exact_at(&mut self.ahead, offset).is_err() {
            // The bytes after the requested page may be unreadable or missing, so a failure to read
            // ahead is not an error.
            self.ahead.clear();
            return self.file.read_exact_at(buffer, offset);
        }
        self.copy(buffer, offset);
        Ok(())
    }

    fn copy(&self, buffer: &mut [u8], offset: u64) -> bool {
        let start = offset
            .checked_sub(self.ahead_at)
            .and_then(|start| usize::try_from(start).ok());
        let found = start.and_then(|start| self.ahead.get(start..start.checked_add(buffer.len())?));
        found.map(|found| buffer.copy_from_slice(found)).is_some()
    }
}

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
