//! Reads the contents of an overlay from the packed archive, with the same result as tar on the
//! node.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use recipes::Sha256;
use tar::EntryType;

use super::error::ManifestError;
use super::format::{Kind, Mode, OverlayEntry};
use crate::digest;

/// The path, in the overlay, of the key that the image trusts.
pub(super) const TRUST: &str = "etc/firstboot/trust.pub";

/// The size limit for the file that contains the trusted key. Every valid key file is smaller than
/// this limit.
pub(super) const TRUST_LIMIT: u64 = 1024;

#[derive(Debug, Default)]
pub(crate) struct OverlayContents {
    /// All entries, by path.
    pub(crate) entries: Vec<OverlayEntry>,
    /// The contents of the files that `keep` selected.
    pub(crate) contents: BTreeMap<String, Vec<u8>>,
}

/// Reads an overlay. `keep` selects, by path and size, the files whose contents are kept.
///
/// Refuses an archive with a duplicate entry, a path that leads out of the folder, a device or a
/// link, because tar would unpack such an archive differently. For example, tar keeps the last of
/// two duplicate entries.
pub(crate) fn read(
    path: &Path,
    keep: impl Fn(&str, u64) -> bool,
) -> Result<OverlayContents, ManifestError> {
    let broken = |error: std::io::Error| {
        ManifestError::wrong(path, format!("it is not a complete tar.gz file ({error})"))
    };
    let file = File::open(path).map_err(ManifestError::io("open it", path))?;
    // All gzip members are read, because the overlay is packed as concatenated gzip members.
    let mut archive =
        tar::Archive::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file)));
    let (mut contents, mut seen) = (OverlayContents::default(), BTreeSet::new());
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let wrong = |found: String| ManifestError::wrong(path, found);
        let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = raw
            .trim_start_matches("./")
            .trim_end_matches('/')
            .to_owned();
        if name.starts_with('/') || name.split('/').any(|part| part == "..") {
            return Err(wrong(format!("its entry `{raw}` leads out of the folder")));
        }
        if !seen.insert(name.clone()) {
            return Err(wrong(format!("it contains `{name}` twice")));
        }
        let header = entry.header().clone();
        let kind = match header.entry_type() {
            EntryType::Regular => Kind::File,
            EntryType::Directory => Kind::Folder,
            other => {
                return Err(wrong(format!(
                    "its entry `{name}` is of type {other:?}; expected only files and folders"
                )));
            }
        };
        let mut content = None;
        if kind == Kind::File && keep(&name, entry.size()) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(broken)?;
            content = Some((bytes.len() as u64, Sha256::of(&bytes)));
            contents.contents.insert(name.clone(), bytes);
        } else if kind == Kind::File {
            content = Some(digest::of_all(&mut entry).map_err(broken)?);
        }
        contents.entries.push(OverlayEntry {
            path: name,
            kind,
            mode: Mode(header.mode().map_err(broken)? & 0o7777),
            uid: header.uid().map_err(broken)?,
            gid: header.gid().map_err(broken)?,
            size: content.map(|(size, _)| size),
            sha256: content.map(|(_, sha256)| sha256),
        });
    }
    // The checksum of the last gzip member follows the end of the archive. Reading to the end
    // verifies the checksum.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(broken)?;
    contents.entries.sort();
    Ok(contents)
}
