//! The snapshot in a stored file, whatever was done to it when it was stored.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::age::{self, Identities, Opener};
use crate::exit::refused;
use crate::files;

/// How zstd's frames begin.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The window that a decompressor makes room for, as a power of two: a file from elsewhere must not fill the memory.
const WINDOW: u32 = 23;
const PIECE: usize = 128 << 10;

/// What a file is, by how it begins; its name may be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Zstd,
    Age,
}

fn kind(from: &mut impl BufRead) -> io::Result<Kind> {
    let begin = from.fill_buf()?;
    Ok(match begin {
        _ if begin.starts_with(age::MAGIC) => Kind::Age,
        _ if begin.starts_with(ZSTD) => Kind::Zstd,
        _ => Kind::Plain,
    })
}

/// Whether the file is something else than the snapshot itself.
pub(crate) fn is_encoded(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut begin = vec![0; age::MAGIC.len()];
    let read = file.read_at(&mut begin, 0)?;
    Ok(kind(&mut &begin[..read])? != Kind::Plain)
}

/// Writes the snapshot that a stored file holds. What was written is good for nothing unless this went well.
pub(crate) fn decode(path: &Path, identity: Option<&Path>, mut to: impl Write) -> Result<()> {
    let file = files::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut stored = BufReader::with_capacity(PIECE, file);
    let opened: Box<dyn Read> = if kind(&mut stored)? == Kind::Age {
        let Some(identity) = identity else {
            bail!(refused(format!("{} is encrypted: name the file with the secret key by --identity", path.display())))
        };
        let identities = Identities::read(identity)?;
        Box::new(Opener::begin(stored, &identities).map_err(|error| damaged(path, error))?)
    } else {
        Box::new(stored)
    };
    let mut opened = BufReader::with_capacity(PIECE, opened);
    let mut plain: Box<dyn Read> = match kind(&mut opened).map_err(|error| damaged(path, error))? {
        Kind::Zstd => {
            let mut larger = zstd::Decoder::with_buffer(opened)?;
            larger.window_log_max(WINDOW)?;
            Box::new(larger)
        }
        _ => Box::new(opened),
    };
    let mut piece = vec![0; PIECE];
    loop {
        match plain.read(&mut piece).map_err(|error| damaged(path, error))? {
            0 => return Ok(()),
            count => to.write_all(&piece[..count]).context("cannot write the snapshot")?,
        }
    }
}

fn damaged(path: &Path, error: io::Error) -> anyhow::Error {
    match error.raw_os_error() {
        Some(_) => anyhow::Error::from(error).context(format!("cannot read {}", path.display())),
        None if error.kind() == ErrorKind::UnexpectedEof => {
            refused(format!("{} is no good snapshot: it ends too soon", path.display()))
        }
        None => refused(format!("{} is no good snapshot: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use recipes::backup::{Backup, Keep, S3};

    use super::super::age::tests::{PUBLIC, SECRET};
    use super::super::encode::{Encoding, Sink, Stored};
    use super::*;

    /// Bytes that both hands hold.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Shared {
        fn finish(self: Box<Self>) -> io::Result<Option<Stored>> {
            Ok(None)
        }
    }

    fn encoded(plain: &[u8], compress: bool, encrypt: bool) -> Vec<u8> {
        let age = if encrypt { vec![PUBLIC.parse().unwrap()] } else { Vec::new() };
        let backup = Backup {
            schedule: "hourly".parse().unwrap(),
            destination: "/var/backups/etcd".parse().unwrap(),
            keep: Keep::default(),
            compress,
            age,
            s3: S3::default(),
        };
        let out = Shared::default();
        let mut sink = Encoding::of(Some(&backup)).before(Box::new(out.clone())).unwrap();
        sink.write_all(plain).unwrap();
        let stored = sink.finish().unwrap();
        let bytes = out.0.lock().unwrap().clone();
        if let Some(stored) = stored {
            assert_eq!((stored.size, stored.sha256), (bytes.len() as u64, recipes::Sha256::of(&bytes)));
        }
        bytes
    }

    fn decoded(stored: &[u8], identity: bool) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("x"), folder.path().join("key"));
        std::fs::write(&file, stored).unwrap();
        std::fs::write(&key, SECRET.as_str()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut plain = Vec::new();
        decode(&file, identity.then_some(&*key), &mut plain).map(|()| plain)
    }

    const WAYS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

    #[test]
    fn what_was_encoded_comes_back() {
        for (compress, encrypt) in WAYS {
            for size in [0, 1, 65_536, 1_000_003] {
                let plain: Vec<u8> = (0..size).map(|at: usize| u8::try_from(at / 7 % 256).unwrap()).collect();
                let stored = encoded(&plain, compress, encrypt);
                assert_eq!(decoded(&stored, true).unwrap(), plain, "{compress} {encrypt} {size}");
                assert!(!compress || size < 65_536 || stored.len() < size / 2);
            }
        }
        let error = decoded(&encoded(b"x", true, true), false).unwrap_err().to_string();
        assert!(error.contains("--identity"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn nothing_of_it_may_be_missing_or_changed(
            plain in prop::collection::vec(any::<u8>(), 100..5000), way in 1..4usize,
            at in any::<prop::sample::Index>(), bit in 0..8u8,
        ) {
            let (compress, encrypt) = WAYS[way];
            let stored = encoded(&plain, compress, encrypt);
            let at = at.index(stored.len());
            let mut flipped = stored.clone();
            flipped[at] ^= 1 << bit;
            // By its first bytes it may be no such file at all; then the walk over its pages refuses it.
            if at >= age::MAGIC.len() {
                prop_assert!(decoded(&stored[..at], true).is_err());
                // zstd has bits that mean nothing.
                let came = decoded(&flipped, true);
                prop_assert!(came.is_err() || !encrypt && came.unwrap() == plain);
            }
        }
    }
}
