//! The files of an image folder and their digests.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use recipes::Sha256;

use super::{FileDigest, ManifestError};
use crate::digest;

/// Every file below a folder, by path, with its digest. A link or a device has no place in an image: what is
/// served from there must be what was measured.
pub(super) fn list(folder: &Path) -> Result<Vec<FileDigest>, ManifestError> {
    let mut out = Vec::new();
    walk(folder, "", &mut out)?;
    out.sort();
    Ok(out)
}

fn walk(folder: &Path, prefix: &str, out: &mut Vec<FileDigest>) -> Result<(), ManifestError> {
    for entry in fs::read_dir(folder).map_err(ManifestError::io("list it", folder))? {
        let entry = entry.map_err(ManifestError::io("list it", folder))?;
        let path = entry.path();
        let name = entry.file_name().into_string().ok().filter(|name| !name.contains(['\n', '\r', '\\']));
        let name = name.ok_or_else(|| ManifestError::wrong(&path, "its name cannot be written into SHA256SUMS"))?;
        let name = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(ManifestError::io("look at it", &path))?;
        if kind.is_dir() {
            walk(&path, &format!("{name}/"), out)?;
        } else if kind.is_file() {
            let (size, sha256) = digest::of_file(&path).map_err(ManifestError::io("read it", &path))?;
            out.push(FileDigest { name, size, sha256 });
        } else {
            return Err(ManifestError::wrong(&path, "it is neither a file nor a folder, expected one of them"));
        }
    }
    Ok(())
}

/// The text of `SHA256SUMS`.
pub(super) fn sums(files: &[FileDigest]) -> String {
    let mut out = String::new();
    for file in files {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}  {}", file.sha256, file.name);
    }
    out
}

/// The other way round: names and digests. The error names the line.
pub(super) fn parse_sums(text: &str) -> Result<Vec<(String, Sha256)>, String> {
    let line = |(index, line): (usize, &str)| {
        let wrong = || format!("line {} is not `DIGEST  NAME`", index + 1);
        let (digest, name) = line.split_once("  ").ok_or_else(wrong)?;
        Ok((name.to_owned(), digest.parse().map_err(|_| wrong())?))
    };
    text.lines().enumerate().map(line).collect()
}
