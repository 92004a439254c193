//! Downloads the files of one repository from its addresses.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use recipes::Sha256;
use recipes::recipe::Base;
use url::Url;

use super::folder::{Folder, with_ending};
use super::metadata::ListedFile;
use super::path::RelativePath;
use crate::release::{Fetch, MirrorError, PartialDownload, Progress, ReleaseError};

/// The maximum size of a file whose size is not listed, such as the installer's second stage (500
/// MB).
const MAX_FILE_BYTES: u64 = 4 << 30;

/// A repository or a tree, and its location in the mirror.
#[derive(Debug)]
pub(super) struct Source<'a> {
    /// The name of the source in messages.
    pub(super) name: String,
    pub(super) bases: &'a [Base],
    /// The folder in the mirror.
    pub(super) area: RelativePath,
    /// The digest of the source's repomd.xml, if the recipe pins the digest.
    pub(super) pin: Option<Sha256>,
    /// The index of the address that answered last, which the next download tries first.
    pub(super) answered: Cell<usize>,
}

/// The reason why no address provided a file.
#[derive(Debug)]
pub(super) struct NotFetched(String);

impl std::fmt::Display for NotFetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Source<'_> {
    /// Returns the addresses, starting with the address that answered last.
    fn bases(&self) -> impl Iterator<Item = (usize, &Base)> {
        let first = self.answered.get();
        let all = self.bases.iter().enumerate();
        all.clone().skip(first).chain(all.take(first))
    }

    /// Returns the error for a file that no address provided.
    fn not_fetched(&self, path: &RelativePath, tried: &[(String, MirrorError)]) -> NotFetched {
        let lines: Vec<String> = tried
            .iter()
            .map(|(url, trouble)| format!("\n  {url}: {trouble}"))
            .collect();
        NotFetched(format!(
            "{}: no address provides {path}{}",
            self.name,
            lines.concat()
        ))
    }

    /// Downloads a small file without a listed digest. If an address does not provide the file, or
    /// if `accept` refuses the content, this function tries the next address.
    pub(super) fn small(
        &self,
        fetch: Fetch<'_>,
        path: &RelativePath,
        accept: impl Fn(&[u8]) -> Result<(), MirrorError>,
    ) -> Result<Vec<u8>> {
        let mut tried = Vec::new();
        for (index, base) in self.bases() {
            let url = path.below(base.url());
            match fetch
                .small(&url)
                .and_then(|bytes| accept(&bytes).map(|()| bytes))
            {
                Ok(bytes) => {
                    self.answered.set(index);
                    return Ok(bytes);
                }
                Err(trouble) => tried.push((url.to_string(), trouble)),
            }
        }
        bail!("{}", self.not_fetched(path, &tried));
    }

    /// Returns the listed size of a file, or the size reported by the address that answered last.
    pub(super) fn size(&self, fetch: Fetch<'_>, file: &ListedFile) -> Option<u64> {
        let base = self.bases().next();
        let length = || fetch.length(&file.path.below(base?.1.url()));
        file.size.or_else(|| Some(length()?.min(MAX_FILE_BYTES)))
    }

    /// Downloads a listed file into the mirror, and returns its size. The inner error means that no
    /// address provided the file.
    pub(super) fn download(
        &self,
        fetch: Fetch<'_>,
        folder: &Folder,
        file: &ListedFile,
    ) -> Result<Result<u64, NotFetched>> {
        let limit = file.size.unwrap_or(MAX_FILE_BYTES);
        self.first(folder, &file.path, |url, part, path| {
            fetch.verified(url, (file.sha256, limit), part, path)
        })
    }

    /// Downloads a file without a listed digest into the mirror, and returns its size and digest.
    pub(super) fn unverified(
        &self,
        fetch: Fetch<'_>,
        folder: &Folder,
        file: &RelativePath,
    ) -> Result<Result<(u64, Sha256), NotFetched>> {
        self.first(folder, file, |url, part, path| {
            fetch.unverified(url, MAX_FILE_BYTES, part, path)
        })
    }

    /// Calls `fetch` for each address in turn, until an address provides the file.
    fn first<T>(
        &self,
        folder: &Folder,
        file: &RelativePath,
        fetch: impl Fn(&Url, &PartialDownload, &Path) -> Result<Result<T, MirrorError>, ReleaseError>,
    ) -> Result<Result<T, NotFetched>> {
        let path = folder.place(&self.area, file)?;
        let part = PartialDownload::at(with_ending(&path, ".part"));
        let mut tried = Vec::new();
        for (index, base) in self.bases() {
            let url = file.below(base.url());
            match fetch(&url, &part, &path)? {
                Ok(found) => {
                    self.answered.set(index);
                    return Ok(Ok(found));
                }
                Err(trouble) => tried.push((url.to_string(), trouble)),
            }
        }
        Ok(Err(self.not_fetched(file, &tried)))
    }
}

/// A progress report that combines many downloads into one transfer.
pub(super) struct TotalProgress<'a> {
    inner: &'a dyn Progress,
    done: AtomicU64,
}

impl<'a> TotalProgress<'a> {
    /// Begins a transfer of files with a total of `total` bytes.
    pub(super) fn begin(inner: &'a dyn Progress, what: &str, total: u64) -> Self {
        inner.begin(what, 0, Some(total));
        Self {
            inner,
            done: AtomicU64::new(0),
        }
    }

    /// Reports that a file of this size is complete.
    pub(super) fn done(&self, size: u64) {
        let before = self.done.fetch_add(size, Ordering::Relaxed);
        self.inner.at(before + size);
    }
}

impl Drop for TotalProgress<'_> {
    fn drop(&mut self) {
        self.inner.end();
    }
}

impl Progress for TotalProgress<'_> {
    fn say(&self, line: &str) {
        self.inner.say(line);
    }
    fn begin(&self, _: &str, _: u64, _: Option<u64>) {}
    fn at(&self, bytes: u64) {
        self.inner.at(self.done.load(Ordering::Relaxed) + bytes);
    }
    fn end(&self) {}
}
