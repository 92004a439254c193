//! The snapshot that a restore keeps for itself while it runs: fetched, or out of a stored file.

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

/// How often it is asked whether there is room for what comes: etcd still runs, on the same volume.
const STEP: u64 = 16 << 20;

/// A file in the making. It is gone when this is dropped.
pub(super) struct Spool {
    unfinished: PathBuf,
    file: File,
    hasher: Hasher,
    pub(super) length: u64,
    checked: u64,
}

impl Spool {
    pub(super) fn begin(name: &str) -> Result<Self> {
        DesiredDir::new(paths::RESTORE, 0o700, ROOT).make()?;
        let unfinished = Path::new(paths::RESTORE).join(format!("{name}.part"));
        let begin = || -> io::Result<File> {
            let folder = Dir::open(Path::new(paths::RESTORE))?;
            let name = unfinished.file_name().unwrap_or_default();
            // What a crash left.
            folder.remove(name)?;
            folder.create(name)
        };
        let file = begin().with_context(|| format!("cannot write {}", unfinished.display()))?;
        Ok(Self { unfinished, file, hasher: Hasher::new(&SHA256), length: 0, checked: 0 })
    }

    /// Gives it its name, which is its digest, if it is what it was to be.
    pub(super) fn finish(self, wanted: Option<&Sha256>) -> Result<PathBuf> {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.hasher.clone().finish().as_ref());
        let found = Sha256::new(bytes);
        if let Some(wanted) = wanted.filter(|wanted| **wanted != found) {
            return Err(refused(format!("the snapshot that came has the digest {found}, and was to have {wanted}")));
        }
        self.file.sync_all().with_context(|| format!("cannot write {}", self.unfinished.display()))?;
        let path = Path::new(paths::RESTORE).join(format!("{found}.db"));
        files::rename(&self.unfinished, &path)?;
        Ok(path)
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length >= self.checked {
            // For the next step of it, and for the data that is made of all of it.
            build::check_room(self.length + STEP).map_err(|error| io::Error::other(format!("{error:#}")))?;
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

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = files::remove(&self.unfinished);
    }
}
