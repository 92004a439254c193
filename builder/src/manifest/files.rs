//! The files of an image folder and their digests.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use recipes::Sha256;

use super::error::ManifestError;
use super::format::FileDigest;
use crate::digest;

/// The contents of a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Every file with its digest, sorted by path.
    pub(super) files: Vec<FileDigest>,
    /// Entries that must not be in an image, each with the reason. A web server serves the whole
    /// folder, so each file in it must have a known digest.
    pub(super) strange: Vec<(String, &'static str)>,
}

/// Lists everything below a folder. The digest of the `measured` file was computed while the file
/// was written, so the file is not read again.
pub(super) fn list(folder: &Path, measured: Option<&FileDigest>) -> Result<Listing, ManifestError> {
    let mut out = Listing::default();
    walk(folder, "", measured, &mut out)?;
    out.files.sort();
    out.strange.sort();
    Ok(out)
}

fn walk(
    folder: &Path,
    prefix: &str,
    measured: Option<&FileDigest>,
    out: &mut Listing,
) -> Result<(), ManifestError> {
    for entry in fs::read_dir(folder).map_err(ManifestError::io("list it", folder))? {
        let entry = entry.map_err(ManifestError::io("list it", folder))?;
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry
            .file_type()
            .map_err(ManifestError::io("inspect it", &path))?;
        if entry
            .file_name()
            .to_str()
            .is_none_or(|name| name.contains(['\n', '\r', '\\']))
        {
            out.strange
                .push((name, "SHA256SUMS cannot contain this name"));
        } else if kind.is_dir() {
            walk(&path, &format!("{name}/"), measured, out)?;
        } else if let Some(file) = measured.filter(|file| file.name == name && kind.is_file()) {
            out.files.push(file.clone());
        } else if kind.is_file() {
            let (size, sha256) =
                digest::of_file(&path).map_err(ManifestError::io("read it", &path))?;
            out.files.push(FileDigest { name, size, sha256 });
        } else {
            out.strange
                .push((name, "it is neither a file nor a folder"));
        }
    }
    Ok(())
}

/// Formats the text of `SHA256SUMS`.
pub(super) fn sums(files: &[FileDigest]) -> String {
    let mut out = String::new();
    for file in files {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}  {}", file.sha256, file.name);
    }
    out
}

/// Parses the text of `SHA256SUMS` into names and digests. An error names the line.
pub(super) fn parse_sums(text: &str) -> Result<Vec<(String, Sha256)>, String> {
    let line = |(index, line): (usize, &str)| {
        let wrong = || format!("line {} does not have the form `DIGEST  NAME`", index + 1);
        let (digest, name) = line.split_once("  ").ok_or_else(wrong)?;
        Ok((name.to_owned(), digest.parse().map_err(|_| wrong())?))
    };
    if !text.ends_with('\n') {
        return Err(
            "its last line does not end with a line break, so the file is truncated".to_owned(),
        );
    }
    text.lines().enumerate().map(line).collect()
}
