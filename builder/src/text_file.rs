//! A text from the disk that a person wrote.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::exit::{Exit, exit_error};

/// A larger file was not written by hand.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// What a file that is not UTF-8 begins with, what it is, and what to do.
const OTHERS: [(&[u8], &str, &str); 5] = [
    (&[0xff, 0xfe], "UTF-16 text", "save it as UTF-8"),
    (&[0xfe, 0xff], "UTF-16 text", "save it as UTF-8"),
    (&[0x1f, 0x8b], "compressed by gzip", "decompress it first"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "compressed by zstd", "decompress it first"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "compressed by xz", "decompress it first"),
];

/// The text of a recipe or another file to be checked.
pub(crate) fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {shown}"))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(exit_error(
            Exit::Recipe,
            format!("{shown} has more than {MAX_TEXT_BYTES} bytes: expected a text written by hand"),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let found = OTHERS.iter().find(|(start, ..)| error.as_bytes().starts_with(start));
        let message = found.map_or_else(
            || format!("{shown} is not UTF-8 at byte {}; save it as UTF-8", error.utf8_error().valid_up_to()),
            |(_, what, remedy)| format!("{shown} is {what}; {remedy}"),
        );
        exit_error(Exit::Recipe, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_text_is_named_for_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        for (bytes, words) in [
            (&b"\xff\xfe[\0c\0"[..], "is UTF-16 text; save it as UTF-8"),
            (b"\x1f\x8b\x08\0", "is compressed by gzip; decompress it first"),
            (b"name = \"\xff\"", "is not UTF-8 at byte 8; save it as UTF-8"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("recipe.toml") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_endless_file_is_refused() {
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("has more than 1048576 bytes"));
    }
}
