//! Packs entries into one tar.gz.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use recipes::Sha256;

use super::compressed_cache::CompressedCache;
use super::gzip::{members, parallel};
use super::header::{BLOCK, header};
use super::sort::sort;
use super::{Content, Entry, Kind, OverlayError, PackedOverlay};
use crate::digest::Hash;
use crate::newfile;

/// The minimum size of a file that is stored in its own gzip members and in the cache. Smaller
/// files compress better together, and compressing them each time is fast enough.
const LARGE_FILE_BYTES: u64 = 256 << 10;

/// A file's content, uncompressed or compressed.
enum LoadedBytes {
    /// The uncompressed bytes.
    Bytes(Vec<u8>),
    /// The compressed form, if the uncompressed bytes are not needed.
    Compressed(Vec<u8>),
}

/// A file's content with its digest and size.
struct Loaded {
    content: LoadedBytes,
    sha256: Sha256,
    size: u64,
}

/// A segment of the tar stream.
enum Segment {
    /// Headers, small contents and padding.
    Plain(Vec<u8>),
    /// The content of a large file, by its index in the list of entries.
    Large(usize),
}

/// Packs the entries into a tar.gz at `out`. Every entry has the modification time `mtime` (seconds
/// since 1970). The bytes depend only on the entries and `mtime`. The compressed form of a large
/// file is kept in `cache`.
///
/// `out` is one file of an output. The caller completes the output, and then syncs it. After an
/// error, `out` does not exist.
pub(crate) fn pack(
    entries: Vec<Entry>,
    mtime: u64,
    cache: &Path,
    out: &Path,
) -> Result<PackedOverlay, OverlayError> {
    let entries = sort(entries)?;
    let cache = CompressedCache::new(cache);
    let loaded = parallel(&entries, |entry| load(entry, &cache))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let segments = segments(&entries, &loaded, mtime)?;
    let compressed = compress(&segments, &loaded, &cache)?;
    write(&compressed, out)
}

/// Returns the size of the content with this digest, if its compressed form is in the cache. For
/// cached content, `pack` does not read the file, so the caller need not verify the file first.
pub(crate) fn cached_size(cache: &Path, content: Sha256) -> Option<u64> {
    CompressedCache::new(cache).size_of(content)
}

/// Loads a file's content, or only its compressed form from the cache. Returns `None` for an entry
/// without content.
fn load(entry: &Entry, cache: &CompressedCache) -> Result<Option<Loaded>, OverlayError> {
    let Kind::File(source) = &entry.kind else {
        return Ok(None);
    };
    let (bytes, sha256) = match source {
        Content::Bytes(bytes) => (bytes.clone(), Sha256::of(bytes)),
        Content::Verified { path, sha256, size } => {
            let compressed = if *size >= LARGE_FILE_BYTES {
                cache.get(*sha256, *size)
            } else {
                None
            };
            if let Some(compressed) = compressed {
                return Ok(Some(Loaded {
                    content: LoadedBytes::Compressed(compressed),
                    sha256: *sha256,
                    size: *size,
                }));
            }
            let bytes = fs::read(path).map_err(OverlayError::io("read", path))?;
            let found = Sha256::of(&bytes);
            if found != *sha256 {
                return Err(OverlayError::Changed {
                    path: path.clone(),
                    expected: *sha256,
                    found,
                });
            }
            (bytes, found)
        }
    };
    let size = bytes.len() as u64;
    let compressed = if size >= LARGE_FILE_BYTES {
        cache.get(sha256, size)
    } else {
        None
    };
    let content = compressed.map_or(LoadedBytes::Bytes(bytes), LoadedBytes::Compressed);
    Ok(Some(Loaded {
        content,
        sha256,
        size,
    }))
}

/// Builds the tar stream, and cuts it at the start and the end of each large file's content.
fn segments(
    entries: &[Entry],
    loaded: &[Option<Loaded>],
    mtime: u64,
) -> Result<Vec<Segment>, OverlayError> {
    let mut out = Vec::new();
    let mut plain = Vec::new();
    for (nth, (entry, loaded)) in entries.iter().zip(loaded).enumerate() {
        let size = loaded.as_ref().map_or(0, |loaded| loaded.size);
        plain.extend(header(entry, size, mtime)?.as_bytes());
        match loaded {
            Some(Loaded {
                content: LoadedBytes::Bytes(bytes),
                size,
                ..
            }) if *size < LARGE_FILE_BYTES => {
                plain.extend(bytes);
            }
            Some(_) => {
                out.push(Segment::Plain(std::mem::take(&mut plain)));
                out.push(Segment::Large(nth));
            }
            None => {}
        }
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        plain.resize(plain.len() + (BLOCK - over) % BLOCK, 0);
    }
    // Two blocks of zeros end an archive.
    plain.resize(plain.len() + 2 * BLOCK, 0);
    out.push(Segment::Plain(plain));
    Ok(out)
}

/// Returns the gzip members of all segments, in order. If some large files are not in the cache,
/// adds the members of these files to the cache, and then removes the cache's unused entries.
fn compress(
    segments: &[Segment],
    loaded: &[Option<Loaded>],
    cache: &CompressedCache,
) -> Result<Vec<Vec<u8>>, OverlayError> {
    let large = |nth: usize| loaded[nth].as_ref();
    let todo: Vec<&[u8]> = segments
        .iter()
        .map(|segment| match segment {
            Segment::Plain(bytes) => bytes.as_slice(),
            Segment::Large(nth) => match large(*nth) {
                Some(Loaded {
                    content: LoadedBytes::Bytes(bytes),
                    ..
                }) => bytes.as_slice(),
                _ => &[],
            },
        })
        .collect();
    let mut compressed = members(&todo);
    let mut added = false;
    for (segment, bytes) in segments.iter().zip(&mut compressed) {
        let Segment::Large(nth) = segment else {
            continue;
        };
        match large(*nth) {
            Some(Loaded {
                content: LoadedBytes::Compressed(compressed),
                ..
            }) => bytes.clone_from(compressed),
            Some(Loaded { sha256, size, .. }) => {
                cache.put(*sha256, *size, bytes)?;
                added = true;
            }
            None => {}
        }
    }
    if added {
        cache.remove_unused(SystemTime::now());
    }
    Ok(compressed)
}

/// Writes the members one after the other, and returns the digest and size of the archive.
fn write(compressed: &[Vec<u8>], out: &Path) -> Result<PackedOverlay, OverlayError> {
    let put = || -> io::Result<()> {
        let mut file = File::create(out)?;
        compressed
            .iter()
            .try_for_each(|bytes| file.write_all(bytes))?;
        // Set the mode explicitly, because the web server must be able to read the file, whatever
        // the builder's umask is. The file contains no secrets.
        file.set_permissions(fs::Permissions::from_mode(newfile::PUBLIC))?;
        // The caller syncs the whole output at the end. Starting the sync here, in parallel with
        // the hashing, hides most of its duration.
        file.sync_data()
    };
    let mut hash = Hash::default();
    let put = std::thread::scope(|scope| {
        let put = scope.spawn(put);
        for bytes in compressed {
            hash.add(bytes);
        }
        put.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    put.map_err(|error| {
        let _ = fs::remove_file(out);
        OverlayError::io("write", out)(error)
    })?;
    Ok(PackedOverlay {
        sha256: hash.finish(),
        size: compressed.iter().map(|bytes| bytes.len() as u64).sum(),
    })
}
