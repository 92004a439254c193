//! SHA-256 over data that arrives in pieces or is too large to hold in memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use recipes::Sha256;
use ring::digest::{Context, SHA256};

/// A digest in progress.
#[derive(Clone)]
pub(crate) struct Hash(Context);

impl Default for Hash {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hash {
    /// Adds these bytes to the digest.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes.
    pub(crate) fn finish(self) -> Sha256 {
        let digest = self.0.finish();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Sha256::new(bytes)
    }
}

/// Returns the size and the digest of everything that a reader returns.
pub(crate) fn of_all(mut from: impl Read) -> io::Result<(u64, Sha256)> {
    let mut hash = Hash::default();
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((size, hash.finish())),
            Ok(count) => {
                hash.add(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the size and the digest of a file.
pub(crate) fn of_file(path: &Path) -> io::Result<(u64, Sha256)> {
    of_all(File::open(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_of_pieces_equals_the_digest_of_all_bytes() {
        let bytes: Vec<u8> = (0..600_000u32).map(|nth| nth.to_le_bytes()[1]).collect();
        assert_eq!(of_all(&bytes[..]).unwrap(), (600_000, Sha256::of(&bytes)));
        let mut hash = Hash::default();
        for piece in bytes.chunks(7_001) {
            hash.add(piece);
        }
        assert_eq!(hash.finish(), Sha256::of(&bytes));
    }
}
