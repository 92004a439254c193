//! Reads a file that the user named: a handwritten file, a certificate, or a key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::exit::{Exit, exit_error};

/// The maximum size of a text file. A larger file was not written by hand.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Kinds of files that are not UTF-8, each with its first bytes, its name and the remedy.
const OTHERS: [(&[u8], &str, &str); 5] = [
    (&[0xff, 0xfe], "UTF-16 text", "save it as UTF-8"),
    (&[0xfe, 0xff], "UTF-16 text", "save it as UTF-8"),
    (&[0x1f, 0x8b], "compressed with gzip", "decompress it first"),
    (
        &[0x28, 0xb5, 0x2f, 0xfd],
        "compressed with zstd",
        "decompress it first",
    ),
    (
        &[0xfd, b'7', b'z', b'X', b'Z'],
        "compressed with xz",
        "decompress it first",
    ),
];

/// Opens a file for reading. A FIFO without a writer is treated as empty, because an ordinary open
/// would wait for a writer indefinitely. A folder is refused.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let nonblock = OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder, but a file is expected",
        ));
    }
    // Clear O_NONBLOCK, so that a read waits for the writer of the FIFO.
    fcntl_setfl(&file, fcntl_getfl(&file)? - nonblock)?;
    Ok(file)
}

/// Returns whether a file exists at a path. A path that cannot be inspected, for example because the
/// user has no access, is an error.
pub(crate) fn is_file(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(about) => Ok(about.is_file()),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(false),
            _ => Err(error),
        },
    }
}

/// The device, inode, size and modification time of a file. At least one of these values changes
/// when the file is written or replaced.
pub(crate) type Fingerprint = (u64, u64, u64, i64, i64);

pub(crate) fn fingerprint(path: &Path) -> io::Result<Fingerprint> {
    let about = fs::metadata(path)?;
    let time = (about.mtime(), about.mtime_nsec());
    Ok((about.dev(), about.ino(), about.size(), time.0, time.1))
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// Reads the text of a file. `expected` describes the expected kind of file, such as a recipe.
pub(crate) fn read(path: &Path, expected: &str) -> Result<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let done = open(path).and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes));
    done.with_context(|| format!("cannot read {shown}, which must be {expected}"))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(exit_error(
            Exit::Recipe,
            format!(
                "{shown} has more than {MAX_TEXT_BYTES} bytes: expected a file written by hand"
            ),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let found = OTHERS
            .iter()
            .find(|(start, ..)| error.as_bytes().starts_with(start));
        let message = found.map_or_else(
            || {
                format!(
                    "{shown} is not UTF-8 at byte {}; save it as UTF-8",
                    error.utf8_error().valid_up_to()
                )
            },
            |(_, what, remedy)| format!("{shown} is {what}; {remedy}"),
        );
        exit_error(Exit::Recipe, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_kind_of_a_file_that_is_not_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        for (bytes, words) in [
            (&b"\xff\xfe[\0c\0"[..], "is UTF-16 text; save it as UTF-8"),
            (
                b"\x1f\x8b\x08\0",
                "is compressed with gzip; decompress it first",
            ),
            (
                b"name = \"\xff\"",
                "is not UTF-8 at byte 8; save it as UTF-8",
            ),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path, "a recipe").unwrap_err().to_string();
            assert!(
                error.contains("recipe.toml") && error.contains(words),
                "{error}"
            );
        }
    }

    #[test]
    fn the_error_for_a_folder_or_a_missing_file_names_the_expected_content() {
        let folder = tempfile::tempdir().unwrap();
        for (path, why) in [
            (
                folder.path().to_owned(),
                "it is a folder, but a file is expected",
            ),
            (folder.path().join("none"), "No such file or directory"),
        ] {
            let error = format!("{:#}", read(&path, "a recipe").unwrap_err());
            assert!(
                error.contains("which must be a recipe: ") && error.contains(why),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_inspected_is_not_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "").unwrap();
        assert!(is_file(&path).unwrap());
        for missing in [folder.path().join("b"), path.join("c")] {
            assert!(!is_file(&missing).unwrap());
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&link, &link).unwrap();
        assert!(is_file(&link).is_err());
    }

    #[test]
    fn a_fifo_without_a_writer_is_empty_and_a_fifo_with_a_writer_is_read_to_its_end() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &path,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .unwrap();
        assert_eq!(read(&path, "a recipe").unwrap(), "");
        let mut writer = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let slow = std::thread::spawn(move || {
            for part in ["one ", "two"] {
                std::thread::sleep(std::time::Duration::from_millis(100));
                writer.write_all(part.as_bytes()).unwrap();
            }
        });
        assert_eq!(read(&path, "a recipe").unwrap(), "one two");
        slow.join().unwrap();
    }

    #[test]
    fn an_endless_file_is_refused() {
        assert!(
            read(Path::new("/dev/zero"), "a recipe")
                .unwrap_err()
                .to_string()
                .contains("has more than 1048576 bytes")
        );
    }
}
