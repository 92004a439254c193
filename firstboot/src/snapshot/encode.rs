//! Encodes snapshots as `[backup]` specifies: unchanged, compressed, encrypted, or both compressed
//! and encrypted. The suffix of the file name shows the encoding.

use std::io::{self, Write};

use recipes::backup::Backup;
use recipes::{Recipient, Sha256};
use ring::digest;

use super::age::Encryptor;

/// The fastest of zstd's standard levels, which also needs the least memory.
const LEVEL: i32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredFile {
    pub(super) sha256: Sha256,
    pub(super) size: u64,
}

pub(super) trait Sink: Write + Send {
    /// Ends the stream. Returns the digest and the size of the stored file if the stream was
    /// compressed or encrypted.
    fn finish(self: Box<Self>) -> io::Result<Option<StoredFile>>;
}

/// The encoding of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding<'a> {
    compress: bool,
    age: &'a [Recipient],
}

impl<'a> Encoding<'a> {
    pub(super) fn of(backup: Option<&'a Backup>) -> Self {
        let (compress, age) =
            backup.map_or((false, &[][..]), |backup| (backup.compress, &backup.age));
        Self { compress, age }
    }

    /// Returns whether the snapshot is stored unchanged.
    pub(super) fn is_none(self) -> bool {
        self.suffix().is_empty()
    }

    pub(super) fn compresses(self) -> bool {
        self.compress
    }

    /// Returns the part of a file name that follows `.db`.
    pub(super) fn suffix(self) -> &'static str {
        match (self.compress, self.age.is_empty()) {
            (false, true) => "",
            (true, true) => ".zst",
            (false, false) => ".age",
            (true, false) => ".zst.age",
        }
    }

    /// Wraps a destination so that all bytes that are written to it are encoded.
    pub(super) fn wrap(self, sink: Box<dyn Sink>) -> io::Result<Box<dyn Sink>> {
        if self.is_none() {
            return Ok(sink);
        }
        let mut sink: Box<dyn Sink> = Box::new(Digested {
            to: sink,
            hash: digest::Context::new(&digest::SHA256),
            size: 0,
        });
        if !self.age.is_empty() {
            sink = Box::new(Encryptor::begin(self.age, sink)?);
        }
        if self.compress {
            let mut smaller = zstd::Encoder::new(sink, LEVEL)?;
            smaller.include_checksum(true)?;
            sink = Box::new(smaller);
        }
        Ok(sink)
    }
}

/// Returns the name of a stored snapshot without its suffixes, or `None` if `name` is not the name
/// of a snapshot.
pub(super) fn stem(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".age").unwrap_or(name);
    let stem = name
        .strip_suffix(".zst")
        .unwrap_or(name)
        .strip_suffix(".db")?;
    (!stem.is_empty() && !stem.starts_with('.')).then_some(stem)
}

impl Sink for Encryptor<Box<dyn Sink>> {
    fn finish(self: Box<Self>) -> io::Result<Option<StoredFile>> {
        Self::finish(*self)?.finish()
    }
}

impl Sink for zstd::Encoder<'static, Box<dyn Sink>> {
    fn finish(self: Box<Self>) -> io::Result<Option<StoredFile>> {
        Self::finish(*self)?.finish()
    }
}

/// Forwards all bytes to the destination, and computes their digest.
struct Digested {
    to: Box<dyn Sink>,
    hash: digest::Context,
    size: u64,
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Sink for Digested {
    fn finish(self: Box<Self>) -> io::Result<Option<StoredFile>> {
        self.to.finish()?;
        Ok(Some(StoredFile {
            sha256: finished(self.hash),
            size: self.size,
        }))
    }
}

/// Returns the digest of all hashed bytes.
pub(super) fn finished(hash: digest::Context) -> Sha256 {
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    Sha256::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_shows_its_encoding() {
        for (name, expected) in [
            ("a.db", Some("a")),
            ("a.db.zst", Some("a")),
            ("a.db.age", Some("a")),
            ("a.db.zst.age", Some("a")),
            ("a.db.age.zst", None),
            ("a.zst", None),
            (".db", None),
            (".a.db", None),
            ("a.db.json", None),
        ] {
            assert_eq!(stem(name), expected, "{name}");
        }
    }
}
