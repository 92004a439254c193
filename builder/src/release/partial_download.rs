//! An incomplete download: the bytes so far, and their origin.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use url::Url;

use super::error::ReleaseError;

/// The incomplete file `….part`, and next to it `….part.from` with the URL and the ETag of its
/// bytes. The holder of the release's lock owns both files.
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

    /// Returns its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.len())
    }

    /// Opens the file to append to it.
    pub(crate) fn append(&self) -> Result<File, ReleaseError> {
        let open = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path);
        open.map_err(ReleaseError::io("write", &self.path))
    }

    /// Returns the ETag of the bytes, if they are from this URL.
    pub(crate) fn etag(&self, url: &Url) -> Option<String> {
        let text = fs::read_to_string(&self.from).ok()?;
        let (from, etag) = text.trim_end().split_once('\n')?;
        (from == url.as_str()).then(|| etag.to_owned())
    }

    /// Records the origin of the bytes. Only a strong ETag proves that bytes are identical (RFC
    /// 9110, 13.1.5).
    pub(crate) fn record_origin(&self, url: &Url, etag: Option<&str>) -> Result<(), ReleaseError> {
        match etag.filter(|etag| etag.starts_with('"')) {
            Some(etag) => fs::write(&self.from, format!("{url}\n{etag}\n"))
                .map_err(ReleaseError::io("write", &self.from)),
            None => forget(&self.from),
        }
    }

    /// Deletes both files.
    pub(crate) fn discard(&self) -> Result<(), ReleaseError> {
        forget(&self.from)?;
        forget(&self.path)
    }

    /// Turns the partial file into the complete file: syncs and renames it.
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
