//! Decodes a stored file: decrypts and decompresses the snapshot in it.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::age::{self, Decryptor, Identities};
use crate::exit::{reason_of, refused};
use crate::files;
use crate::reason::{Reason, ReasonId};

/// The magic number of a zstd frame, and the last three bytes of the magic number of a skippable
/// frame (RFC 8878).
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const SKIPPED: &[u8] = &[0x2a, 0x4d, 0x18];
/// The maximum window of the decompressor, as the exponent of a power of two. This limit is the
/// default of `zstd -d`, and prevents a file of unknown origin from filling the memory.
const WINDOW: u32 = 27;
const PIECE: usize = 128 << 10;
/// The number of bytes that firstboot reads to determine the format of a file.
const BEGIN: usize = 64;

/// The formats that firstboot does not read, each with its magic number, a description, and the
/// remedy.
const UNSUPPORTED: [(&[u8], &str, &str); 9] = [
    (
        &[0x1f, 0x8b],
        "compressed with gzip",
        "decompress it with `gunzip` first",
    ),
    (
        b"PK\x03\x04",
        "a zip archive",
        "extract it with `unzip` first",
    ),
    (
        &[0xfd, b'7', b'z', b'X', b'Z', 0],
        "compressed with xz",
        "decompress it with `unxz` first",
    ),
    (
        b"BZh",
        "compressed with bzip2",
        "decompress it with `bunzip2` first",
    ),
    (
        &[0x04, 0x22, 0x4d, 0x18],
        "compressed with lz4",
        "decompress it with `lz4 -d` first",
    ),
    (
        b"-----BEGIN AGE ENCRYPTED FILE-----",
        "encrypted with age in ASCII armor",
        "decrypt it with `age -d -i KEY` first",
    ),
    (
        b"-----BEGIN PGP MESSAGE-----",
        "encrypted with gpg",
        "decrypt it with `gpg -d` first",
    ),
    (
        b"Salted__",
        "encrypted with openssl",
        "decrypt it with `openssl enc -d` first",
    ),
    (
        b"{",
        "JSON, such as the manifest of a snapshot",
        "pass the path of the snapshot instead",
    ),
];

/// The format of a file, which firstboot determines from the file's first bytes, not from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Plain,
    Zstd,
    Age,
    /// A format that firstboot does not read, with its description and the remedy.
    Unsupported(&'static str, &'static str),
}

impl Format {
    fn of(begin: &[u8]) -> Self {
        if begin.starts_with(age::MAGIC) {
            return Self::Age;
        }
        let skipped = begin.first().is_some_and(|byte| byte & 0xF0 == 0x50)
            && begin[1..].starts_with(SKIPPED);
        if begin.starts_with(ZSTD) || skipped {
            return Self::Zstd;
        }
        let unsupported = UNSUPPORTED
            .iter()
            .find(|(magic, ..)| begin.starts_with(magic));
        unsupported.map_or(Self::Plain, |(_, what, remedy)| {
            Self::Unsupported(what, remedy)
        })
    }

    /// Refuses a format that firstboot does not read.
    fn supported(self, path: &Path) -> Result<Self> {
        let Self::Unsupported(what, remedy) = self else {
            return Ok(self);
        };
        let path = path.display();
        Err(refused(ReasonId::SnapshotFormat.because(format!(
            "{path} is {what}, but firstboot decodes only zstd and the binary format of age: {remedy}"
        ))))
    }
}

/// The error for an encrypted file if no usable key is given, or if none of the given keys decrypts
/// the file. The file is not necessarily damaged.
#[derive(Debug)]
pub(crate) struct NoMatchingKey(pub(crate) Reason);

impl fmt::Display for NoMatchingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for NoMatchingKey {}

/// Returns whether the file must be decoded with [`decode`]. Refuses a format that firstboot does
/// not read.
pub(crate) fn is_encoded(path: &Path, file: &File) -> Result<bool> {
    let mut begin = [0; BEGIN];
    let read = file
        .read_at(&mut begin, 0)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Format::of(&begin[..read]).supported(path)? != Format::Plain)
}

/// Writes the decoded snapshot of a stored file. After an error, the caller must not use the
/// written bytes.
///
/// # Errors
/// Returns [`NoMatchingKey`] if the file is encrypted and the key is missing, wrong or unusable.
pub(crate) fn decode(path: &Path, identity: Option<&Path>, mut to: impl Write) -> Result<()> {
    let file = files::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut plain = open(path, BufReader::with_capacity(PIECE, file), identity)?;
    let mut stated = Stated::default();
    let mut piece = vec![0; PIECE];
    loop {
        let count = plain
            .read(&mut piece)
            .map_err(|error| damaged(path, error))?;
        stated
            .next(&piece[..count])
            .map_err(|why| invalid(path, &why))?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&piece[..count])
            .context("cannot write the snapshot")?;
    }
}

/// Opens a stored file. The returned reader decodes the snapshot.
fn open(
    path: &Path,
    mut stored: BufReader<File>,
    identity: Option<&Path>,
) -> Result<Box<dyn Read>> {
    let opened: Box<dyn Read> =
        match Format::of(stored.fill_buf().map_err(|error| damaged(path, error))?)
            .supported(path)?
        {
            Format::Age => Box::new(unlocked(path, stored, identity)?),
            _ => Box::new(stored),
        };
    let mut opened = BufReader::with_capacity(PIECE, opened);
    Ok(
        match Format::of(opened.fill_buf().map_err(|error| damaged(path, error))?)
            .supported(path)?
        {
            Format::Zstd => {
                let mut larger = zstd::Decoder::with_buffer(opened)?;
                larger.window_log_max(WINDOW)?;
                Box::new(larger)
            }
            _ => Box::new(opened),
        },
    )
}

fn unlocked<R: BufRead>(path: &Path, stored: R, identity: Option<&Path>) -> Result<Decryptor<R>> {
    let shown = path.display();
    let Some(identity) = identity else {
        let why = format!("{shown} is encrypted: pass the file with the secret key as --identity");
        return Err(NoMatchingKey(ReasonId::SnapshotLocked.because(why)).into());
    };
    let identities =
        Identities::read(identity).map_err(|error| NoMatchingKey(reason_of(&error)))?;
    Decryptor::begin(stored, &identities).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            let why = format!(
                "{} does not decrypt {shown}: {error}. Pass a different file as --identity",
                identity.display()
            );
            NoMatchingKey(ReasonId::SnapshotLocked.because(why)).into()
        }
        _ => damaged(path, error),
    })
}

fn damaged(path: &Path, error: io::Error) -> anyhow::Error {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(_) => anyhow::Error::from(error).context(format!("cannot read {}", path.display())),
        None if error.kind() == ErrorKind::UnexpectedEof => invalid(path, "it is truncated"),
        // libzstd returns this text for ZSTD_error_frameParameter_windowTooLarge.
        None if text.contains("too much memory") => refused(ReasonId::SnapshotFormat.because(format!(
            "{} was compressed with a window of more than 128 MiB: decompress it with `zstd -d --long=31` first",
            path.display()
        ))),
        None => invalid(path, &text),
    }
}

fn invalid(path: &Path, why: &str) -> anyhow::Error {
    refused(
        ReasonId::SnapshotInvalid
            .because(format!("{} is not a good snapshot: {why}", path.display())),
    )
}

/// Compares the decoded length with the length that the first pages state. Without this check, a
/// small compressed file could fill any disk.
#[derive(Debug, Default)]
struct Stated {
    begin: Vec<u8>,
    limit: Option<u64>,
    length: u64,
}

impl Stated {
    /// Counts the next bytes. Fails if the file is longer than its first pages allow. An empty
    /// slice marks the end.
    fn next(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.length += bytes.len() as u64;
        let Some(limit) = self.limit else {
            self.begin.extend_from_slice(bytes);
            if self.begin.len() >= bolt::META_PAGES || bytes.is_empty() {
                let stated = bolt::stated_length(&std::mem::take(&mut self.begin));
                let stated = stated.ok_or("its first two pages are not bbolt meta pages")?;
                // Allow a longer file than the pages need, because bbolt grows the file of a
                // database in large steps.
                self.limit = Some(stated.saturating_mul(2).saturating_add(64 << 20));
            }
            return Ok(());
        };
        if self.length > limit {
            return Err(format!(
                "it expands to more than {limit} bytes, but its first pages state less than half of that"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
