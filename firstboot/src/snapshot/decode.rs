//! The snapshot in a stored file, whatever was done to it when it was stored.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::age::{self, Decryptor, Identities};
use crate::exit::refused;
use crate::files;

/// How zstd's frames begin, and those that it skips but for their first byte's lower half (RFC 8878).
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const SKIPPED: &[u8] = &[0x2a, 0x4d, 0x18];
/// The window that a decompressor makes room for, as a power of two: what `zstd -d` takes unless it is told otherwise. A
/// file from elsewhere must not fill the memory.
const WINDOW: u32 = 27;
const PIECE: usize = 128 << 10;
/// How far a file says what it is.
const BEGIN: usize = 64;

/// Formats that firstboot does not read: how they begin, what they are called, what gives the snapshot.
const FOREIGN: [(&[u8], &str, &str); 9] = [
    (&[0x1f, 0x8b], "compressed by gzip", "gunzip it"),
    (b"PK\x03\x04", "a zip archive", "unzip it"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "compressed by xz", "unxz it"),
    (b"BZh", "compressed by bzip2", "bunzip2 it"),
    (&[0x04, 0x22, 0x4d, 0x18], "compressed by lz4", "`lz4 -d` it"),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "encrypted by age, in armor", "decrypt it by `age -d -i KEY`"),
    (b"-----BEGIN PGP MESSAGE-----", "encrypted by gpg", "decrypt it by `gpg -d`"),
    (b"Salted__", "encrypted by openssl", "decrypt it by `openssl enc -d`"),
    (b"{", "JSON, as the manifest beside a snapshot", "name the snapshot"),
];

/// What a file is, by how it begins; its name may be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Zstd,
    Age,
    /// What it is, and what to do.
    Foreign(&'static str, &'static str),
}

impl Kind {
    fn of(begin: &[u8]) -> Self {
        if begin.starts_with(age::MAGIC) {
            return Self::Age;
        }
        let skipped = begin.first().is_some_and(|byte| byte & 0xF0 == 0x50) && begin[1..].starts_with(SKIPPED);
        if begin.starts_with(ZSTD) || skipped {
            return Self::Zstd;
        }
        let foreign = FOREIGN.iter().find(|(magic, ..)| begin.starts_with(magic));
        foreign.map_or(Self::Plain, |(_, what, remedy)| Self::Foreign(what, remedy))
    }

    /// Refuses what firstboot does not read.
    fn known(self, path: &Path) -> Result<Self> {
        let Self::Foreign(what, remedy) = self else { return Ok(self) };
        let path = path.display();
        Err(refused(format!("{path} is {what}, and firstboot reads zstd and age's binary format: {remedy} first")))
    }
}

/// The file is encrypted, and no key was given that opens it. That says nothing against the file.
#[derive(Debug)]
pub(crate) struct Locked(String);

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Locked {}

/// Whether the file is something else than the snapshot itself, and [`decode`] reads it.
pub(crate) fn is_encoded(path: &Path, file: &File) -> Result<bool> {
    let mut begin = [0; BEGIN];
    let read = file.read_at(&mut begin, 0).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Kind::of(&begin[..read]).known(path)? != Kind::Plain)
}

/// Writes the snapshot that a stored file holds. What was written is good for nothing unless this went well.
///
/// # Errors
/// [`Locked`] where another key, or any, is needed.
pub(crate) fn decode(path: &Path, identity: Option<&Path>, mut to: impl Write) -> Result<()> {
    let file = files::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut plain = open(path, BufReader::with_capacity(PIECE, file), identity)?;
    let mut stated = Stated::default();
    let mut piece = vec![0; PIECE];
    loop {
        let count = plain.read(&mut piece).map_err(|error| damaged(path, error))?;
        stated.next(&piece[..count]).map_err(|why| refused(format!("{} {why}", path.display())))?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&piece[..count]).context("cannot write the snapshot")?;
    }
}

/// Undoes what was done to it.
fn open(path: &Path, mut stored: BufReader<File>, identity: Option<&Path>) -> Result<Box<dyn Read>> {
    let opened: Box<dyn Read> = match Kind::of(stored.fill_buf().map_err(|error| damaged(path, error))?).known(path)? {
        Kind::Age => Box::new(unlocked(path, stored, identity)?),
        _ => Box::new(stored),
    };
    let mut opened = BufReader::with_capacity(PIECE, opened);
    Ok(match Kind::of(opened.fill_buf().map_err(|error| damaged(path, error))?).known(path)? {
        Kind::Zstd => {
            let mut larger = zstd::Decoder::with_buffer(opened)?;
            larger.window_log_max(WINDOW)?;
            Box::new(larger)
        }
        _ => Box::new(opened),
    })
}

fn unlocked<R: BufRead>(path: &Path, stored: R, identity: Option<&Path>) -> Result<Decryptor<R>> {
    let shown = path.display();
    let Some(identity) = identity else {
        let why = format!("{shown} is encrypted: name the file with the secret key by --identity");
        return Err(Locked(why).into());
    };
    let identities = Identities::read(identity).map_err(|error| Locked(format!("{error:#}")))?;
    Decryptor::begin(stored, &identities).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            Locked(format!("{} does not open {shown}: {error}. Name another file by --identity", identity.display()))
                .into()
        }
        _ => damaged(path, error),
    })
}

fn damaged(path: &Path, error: io::Error) -> anyhow::Error {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(_) => anyhow::Error::from(error).context(format!("cannot read {}", path.display())),
        None if error.kind() == ErrorKind::UnexpectedEof => {
            refused(format!("{} is not a good snapshot: it ends too soon", path.display()))
        }
        // As libzstd names it (ZSTD_error_frameParameter_windowTooLarge).
        None if text.contains("too much memory") => refused(format!(
            "{} was compressed with a window of more than 128 MiB: decompress it by `zstd -d --long=31` first",
            path.display()
        )),
        None => refused(format!("{} is not a good snapshot: {text}", path.display())),
    }
}

/// Holds what comes out of a stored file against what its first pages state: a few bytes may hold more than any disk.
#[derive(Debug, Default)]
struct Stated {
    begin: Vec<u8>,
    limit: Option<u64>,
    length: u64,
}

impl Stated {
    /// Takes note of the next bytes; none are the end.
    fn next(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.length += bytes.len() as u64;
        let Some(limit) = self.limit else {
            self.begin.extend_from_slice(bytes);
            if self.begin.len() >= bolt::META_PAGES || bytes.is_empty() {
                let stated = bolt::stated_length(&std::mem::take(&mut self.begin));
                let stated =
                    stated.ok_or("holds no snapshot: neither of its first two pages is a meta page of bbolt's")?;
                // The file of a database that lived is longer than its pages: bbolt makes it grow in large steps.
                self.limit = Some(stated.saturating_mul(2).saturating_add(64 << 20));
            }
            return Ok(());
        };
        if self.length > limit {
            return Err(format!("holds more than {limit} bytes, and its first pages state less than half of that"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
