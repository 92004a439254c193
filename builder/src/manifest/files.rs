//! The files of an image folder and their digests.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use recipes::Sha256;
use ring::digest::{Context, SHA256};

use super::{FileDigest, ManifestError};

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
            let file = File::open(&path).map_err(ManifestError::io("open it", &path))?;
            let (size, sha256) = digest(file).map_err(ManifestError::io("read it", &path))?;
            out.push(FileDigest { name, size, sha256 });
        } else {
            return Err(ManifestError::wrong(&path, "it is neither a file nor a folder, expected one of them"));
        }
    }
    Ok(())
}

/// The size and the digest of all that can be read, without holding it in memory.
pub(super) fn digest(mut from: impl Read) -> io::Result<(u64, Sha256)> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                context.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Ok((size, Sha256::new(bytes)))
}

/// Writes a new file that everybody may read, under any umask: an image is public.
pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<(), ManifestError> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(path).map_err(ManifestError::io("create it", path))?;
    file.set_permissions(Permissions::from_mode(0o644)).map_err(ManifestError::io("set its mode", path))?;
    file.write_all(bytes).map_err(ManifestError::io("write it", path))
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
