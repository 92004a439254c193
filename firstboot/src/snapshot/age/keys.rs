//! Reads identities, and derives the keys for encryption and decryption.

use std::fmt;
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use ring::aead::{CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use x25519_dalek::x25519;

use crate::exit::refused;
use crate::files;
use crate::reason::ReasonId;

/// The first line of an age file.
pub(in crate::snapshot) const MAGIC: &[u8] = b"age-encryption.org/v1\n";

const LABEL: &[u8] = b"age-encryption.org/v1/X25519";

/// The maximum size of an identity file in bytes.
const LIMIT: u64 = 256 << 10;

pub(super) type FileKey = [u8; 16];

/// The secret keys of recipients.
pub(crate) struct Identities(pub(super) Vec<[u8; 32]>);

// The output of `{:?}` omits the keys.
impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} identities", self.0.len())
    }
}

impl Identities {
    /// Reads a file that `age-keygen` created. Refuses a file to which users other than its owner
    /// have access.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let no = |why: String| refused(ReasonId::DecryptionKeys.because(why));
        let about = path
            .metadata()
            .with_context(|| format!("cannot read the attributes of {}", path.display()))?;
        if about.mode() & 0o077 != 0 {
            return Err(no(format!(
                "{0}, which contains secret keys, is accessible to users other than its owner. \
                Run `chmod 600 {0}`",
                path.display()
            )));
        }
        let text = String::from_utf8(files::read_bounded(path, LIMIT)?).unwrap_or_default();
        Self::parse(&text).map_err(|why| no(format!("{}: {why}", path.display())))
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if !line.is_empty() && !line.starts_with('#') {
                // Do not include the line in the error, because the line is secret.
                keys.push(
                    recipes::recipient::key(line, "age-secret-key-").ok_or_else(|| {
                        format!(
                            "line {number}: expected an identity that `age-keygen` created \
                             (AGE-SECRET-KEY-1…)"
                        )
                    })?,
                );
            }
        }
        if keys.is_empty() {
            Err("the file does not contain an identity".to_owned())
        } else {
            Ok(Self(keys))
        }
    }
}

/// Derives a key of 32 bytes from a secret.
pub(super) fn derived(secret: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, salt);
    // HKDF fails only if the requested key is longer than 255 digests.
    let _ = salt
        .extract(secret)
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|key| key.fill(&mut out));
    out
}

pub(super) fn aead(key: &[u8; 32]) -> io::Result<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key)
        .map(LessSafeKey::new)
        .map_err(|_| Error::other("the key does not have 32 bytes"))
}

/// Returns the key that encrypts the file key for one recipient. Returns `None` if the shared
/// secret of the keys `own` and `theirs` is zero. Only a malicious key produces a zero secret.
pub(super) fn wrapping(
    own: [u8; 32],
    theirs: [u8; 32],
    share: &[u8; 32],
    recipient: &[u8; 32],
) -> Option<[u8; 32]> {
    let shared = x25519(own, theirs);
    (shared != [0; 32]).then(|| derived(&shared, &[*share, *recipient].concat(), LABEL))
}

pub(super) fn zero() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

pub(super) fn wrong(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}
