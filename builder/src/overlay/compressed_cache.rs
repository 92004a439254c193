//! Keeps large files in compressed form from one build to the next.
//!
//! The path of an entry is CACHE/gzip/CONTENT-DIGEST/COMPRESSOR.CONTENT-SIZE.COMPRESSED-DIGEST.gz.
//! This path lets the builder find an entry by the digest of the entry's content, and verify the
//! entry by hashing only the compressed bytes. The compressed bytes are about a third of the
//! content's size. The builder does not read the uncompressed content. Like a compiler's cache,
//! this cache is protected against damage, but not against an owner who forges entries.

use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use recipes::Sha256;

use super::OverlayError;
use super::gzip::COMPRESSOR;

/// The time after which an unused entry is removed. Whenever the firstboot program changes, a build
/// adds an entry of 3 MB.
const MAX_UNUSED_AGE: Duration = Duration::from_secs(60 * 24 * 3600);

/// The compressed files in a cache folder.
#[derive(Debug, Clone)]
pub(super) struct CompressedCache(PathBuf);

impl CompressedCache {
    /// Returns a handle for the compressed files in this cache folder. The folder need not exist.
    pub(super) fn new(cache: &Path) -> Self {
        Self(cache.join("gzip"))
    }

    fn folder(&self, content: Sha256) -> PathBuf {
        self.0.join(content.to_string())
    }

    /// Returns this compressor's entries for the content with this digest, each with the content's
    /// size and the digest of the compressed bytes.
    fn entries(&self, content: Sha256) -> impl Iterator<Item = (PathBuf, u64, Sha256)> + use<> {
        let entry = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let (size, digest) = name
                .strip_prefix(COMPRESSOR)?
                .strip_prefix('.')?
                .strip_suffix(".gz")?
                .split_once('.')?;
            Some((entry.path(), size.parse().ok()?, digest.parse().ok()?))
        };
        fs::read_dir(self.folder(content))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(entry)
    }

    /// Returns the size of the content with this digest, if its compressed form is in the cache.
    /// Only [`CompressedCache::get`] checks whether the compressed form is intact.
    pub(super) fn size_of(&self, content: Sha256) -> Option<u64> {
        self.entries(content).next().map(|(_, size, _)| size)
    }

    /// Returns the compressed form of the content with this digest and size. Records the time of
    /// use. A damaged entry is removed and counts as missing.
    pub(super) fn get(&self, content: Sha256, size: u64) -> Option<Vec<u8>> {
        for (path, found, digest) in self.entries(content) {
            let bytes = fs::read(&path).ok()?;
            if found == size && digest == Sha256::of(&bytes) {
                // Record the time of use for `remove_unused`. If the time cannot be recorded, a
                // later build merely compresses the content again.
                let _ = File::options()
                    .append(true)
                    .open(&path)
                    .map(|file| file.set_modified(SystemTime::now()));
                return Some(bytes);
            }
            let _ = fs::remove_file(path);
        }
        None
    }

    /// Stores a compressed form. Two builders can store the same form at the same time, because
    /// each renames a complete file to the same name.
    pub(super) fn put(
        &self,
        content: Sha256,
        size: u64,
        compressed: &[u8],
    ) -> Result<(), OverlayError> {
        let folder = self.folder(content);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder);
        made.map_err(OverlayError::io("create", &folder))?;
        let path = folder.join(format!("{COMPRESSOR}.{size}.{}.gz", Sha256::of(compressed)));
        // The file is not synced, because a file that a power failure damages does not match the
        // digest in its name.
        let mut file =
            tempfile::NamedTempFile::new_in(&folder).map_err(OverlayError::io("write", &folder))?;
        file.write_all(compressed)
            .map_err(OverlayError::io("write", &path))?;
        file.persist(&path)
            .map_err(|error| OverlayError::io("write", &path)(error.error))?;
        Ok(())
    }

    /// Removes entries that no build has used for a long time. An entry that cannot be removed is
    /// harmless.
    pub(super) fn remove_unused(&self, now: SystemTime) {
        let Ok(folders) = fs::read_dir(&self.0) else {
            return;
        };
        for folder in folders.flatten().map(|entry| entry.path()) {
            let Ok(files) = fs::read_dir(&folder) else {
                continue;
            };
            for file in files.flatten() {
                let used = file.metadata().and_then(|about| about.modified());
                if used.is_ok_and(|used| {
                    now.duration_since(used)
                        .is_ok_and(|age| age > MAX_UNUSED_AGE)
                }) {
                    let _ = fs::remove_file(file.path());
                }
            }
            // `remove_dir` removes only an empty folder.
            let _ = fs::remove_dir(&folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_entry_counts_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompressedCache::new(folder.path());
        let content = Sha256::of(b"content");
        assert_eq!(
            (cache.get(content, 7), cache.size_of(content)),
            (None, None)
        );
        cache.put(content, 7, b"compressed").unwrap();
        assert_eq!(cache.size_of(content), Some(7));
        assert_eq!(cache.get(content, 7).unwrap(), b"compressed");
        let entry = fs::read_dir(cache.folder(content))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        fs::write(&entry, b"compressex").unwrap();
        assert_eq!(cache.get(content, 7), None);
        assert!(!entry.exists());
    }

    #[test]
    fn an_entry_of_another_compressor_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompressedCache::new(folder.path());
        let content = Sha256::of(b"content");
        let other = cache.folder(content);
        fs::create_dir_all(&other).unwrap();
        fs::write(
            other.join(format!("zlib-rs-0.0.1-level9-1m.7.{}.gz", Sha256::of(b"x"))),
            b"x",
        )
        .unwrap();
        assert_eq!(cache.get(content, 7), None);
    }

    #[test]
    fn an_unused_entry_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompressedCache::new(folder.path());
        let content = Sha256::of(b"content");
        cache.put(content, 7, b"compressed").unwrap();
        cache.remove_unused(SystemTime::now());
        assert!(cache.get(content, 7).is_some());
        cache.remove_unused(SystemTime::now() + MAX_UNUSED_AGE + Duration::from_secs(60));
        assert!(!cache.folder(content).exists());
    }
}
