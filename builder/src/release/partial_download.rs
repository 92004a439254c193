//! An incomplete download: the bytes that have arrived so far, and their origin.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use url::Url;

use super::error::ReleaseError;

/// The incomplete file `….part`, and the file `….part.from` with the URL and the ETag of the bytes.
/// Only the process that has locked the release or the mirror's folder may use `….part` and
/// `….part.from`.
#[derive(Debug)]
pub(crate) struct PartialDownload {
    path: PathBuf,
    from: PathBuf,
}

impl PartialDownload {
    /// Returns the incomplete file at this path. The file need not exist.
    pub(crate) fn at(path: PathBuf) -> Self {
        let mut from = path.clone().into_os_string();
        from.push(".from");
        Self {
            path,
            from: from.into(),
        }
    }

    /// Returns the path of the incomplete file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of bytes that have been downloaded.
    pub(crate) fn len(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.len())
    }

    /// Opens the incomplete file for appending.
    pub(crate) fn append(&self) -> Result<File, ReleaseError> {
        let open = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path);
        open.map_err(ReleaseError::io("write", &self.path))
    }

    /// Returns the ETag of the downloaded bytes, if the bytes are from this URL.
    pub(crate) fn etag(&self, url: &Url) -> Option<String> {
        let text = fs::read_to_string(&self.from).ok()?;
        let (from, etag) = text.trim_end().split_once('\n')?;
        (from == url.as_str()).then(|| etag.to_owned())
    }

    /// Records the origin of the downloaded bytes. Only a strong ETag is recorded, because only a
    /// strong ETag proves that bytes are identical (RFC 9110, 13.1.5). Without a strong ETag, an
    /// earlier record is deleted.
    pub(crate) fn record_origin(&self, url: &Url, etag: Option<&str>) -> Result<(), ReleaseError> {
        match etag.filter(|etag| etag.starts_with('"')) {
            Some(etag) => fs::write(&self.from, format!("{url}\n{etag}\n"))
                .map_err(ReleaseError::io("write", &self.from)),
            None => forget(&self.from),
        }
    }

    /// Deletes the partial file and the record of its origin.
    pub(crate) fn discard(&self) -> Result<(), ReleaseError> {
        forget(&self.from)?;
        forget(&self.path)
    }

    /// Syncs the partial file, and renames it to the complete file.
    pub(crate) fn complete(&self, path: &Path) -> Result<(), ReleaseError> {
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .map_err(ReleaseError::io("sync", &self.path))?;
        fs::rename(&self.path, path).map_err(ReleaseError::io("write", path))?;
        if let Some(folder) = path.parent() {
            File::open(folder)
                .and_then(|file| file.sync_all())
                .map_err(ReleaseError::io("sync", folder))?;
        }
        forget(&self.from)
    }
}

/// Removes a file if it exists.
fn forget(path: &Path) -> Result<(), ReleaseError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ReleaseError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
