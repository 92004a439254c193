//! Writes a downloaded or decoded snapshot to a file that exists only during the restore.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use recipes::Sha256;
use ring::digest::{Context as Hasher, SHA256};

use super::build;
use crate::exit::refused;
use crate::files::{self, DesiredDir, Dir, ROOT};
use crate::paths;
use crate::reason::ReasonId;

/// The number of written bytes between two checks of the free space. etcd is still running on the
/// same volume, so the free space can shrink.
const STEP: u64 = 16 << 20;

/// A file that is being written. Dropping this value deletes the unfinished file.
pub(super) struct TemporaryFile {
    unfinished: PathBuf,
    file: File,
    hasher: Hasher,
    pub(super) length: u64,
    checked: u64,
}

impl TemporaryFile {
    pub(super) fn begin(name: &str) -> Result<Self> {
        DesiredDir::new(paths::RESTORE, 0o700, ROOT).make()?;
        let unfinished = Path::new(paths::RESTORE).join(format!("{name}.part"));
        let begin = || -> io::Result<File> {
            let folder = Dir::open(Path::new(paths::RESTORE))?;
            let name = unfinished.file_name().unwrap_or_default();
            // Remove the file that a crash may have left behind.
            folder.remove(name)?;
            folder.create(name)
        };
        let file = begin().with_context(|| format!("cannot write {}", unfinished.display()))?;
        Ok(Self {
            unfinished,
            file,
            hasher: Hasher::new(&SHA256),
            length: 0,
            checked: 0,
        })
    }

    /// Checks the digest, flushes the file, and renames it to a name that contains the digest.
    pub(super) fn finish(self, wanted: Option<&Sha256>) -> Result<PathBuf> {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.hasher.clone().finish().as_ref());
        let found = Sha256::new(bytes);
        if let Some(wanted) = wanted.filter(|wanted| **wanted != found) {
            return Err(refused(ReasonId::SnapshotInvalid.because(format!(
                "the downloaded snapshot has the digest {found}, but {wanted} was expected"
            ))));
        }
        self.file
            .sync_all()
            .with_context(|| format!("cannot write {}", self.unfinished.display()))?;
        let path = Path::new(paths::RESTORE).join(format!("{found}.db"));
        files::rename(&self.unfinished, &path)?;
        Ok(path)
    }
}

impl Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length >= self.checked {
            // The disk must have room for the next bytes and for the data that is built from the
            // snapshot.
            build::check_room(self.length + STEP)
                .map_err(|error| io::Error::other(format!("{error:#}")))?;
            self.checked = self.length + STEP;
        }
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = files::remove(&self.unfinished);
    }
}
