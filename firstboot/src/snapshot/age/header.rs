//! Reads the header of an age file. The header consists of stanzas, each of which contains the file
//! key encrypted for one recipient, and of a MAC over all stanzas.

use std::io::{self, BufRead, Error, ErrorKind, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::aead::Aad;
use ring::hmac;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use super::keys::{FileKey, Identities, MAGIC, aead, derived, wrapping, wrong, zero};

/// The maximum size of a header in bytes, which is enough for 40,000 recipients.
pub(super) const LIMIT: u64 = 4 << 20;
/// The number of characters in a full line of a stanza's body.
const COLUMNS: usize = 64;

/// Reads the header and decrypts the file key.
///
/// # Errors
/// Returns [`ErrorKind::PermissionDenied`] if the header can be parsed but none of the identities
/// decrypts the file key.
pub(super) fn unlock(from: &mut impl BufRead, identities: &Identities) -> io::Result<FileKey> {
    let mut header = Header {
        from: from.by_ref().take(LIMIT),
        read: Vec::new(),
    };
    if header.line()?.as_bytes() != &MAGIC[..MAGIC.len() - 1] {
        return Err(wrong("its first line is not the first line of an age file"));
    }
    let (mut found, mut stanzas, mut passphrase) = (None, 0, false);
    let given = loop {
        let line = header.line()?;
        if let Some(mac) = line.strip_prefix("--- ") {
            break decoded::<32>(mac)?;
        }
        let Stanza {
            kind,
            arguments,
            body,
        } = header.stanza(&line)?;
        stanzas += 1;
        passphrase |= kind == "scrypt";
        // Skip stanzas of other types, which are for other recipients.
        if kind == "X25519" {
            let [share] = arguments[..] else {
                return Err(wrong("its header has a stanza with invalid arguments"));
            };
            let (share, body) = (decoded::<32>(share)?, <[u8; 32]>::try_from(body));
            let body = body.map_err(|_| wrong("its header has a key with a wrong length"))?;
            for own in &identities.0 {
                found = found.or(opened(*own, &share, body)?);
            }
        }
    };
    if passphrase && stanzas > 1 {
        return Err(wrong(
            "its header has both a passphrase recipient and other recipients, which age does not \
             allow",
        ));
    }
    let denied = || {
        let why = if passphrase {
            "it is encrypted with a passphrase, which firstboot does not support".to_owned()
        } else {
            format!(
                "none of the identities belongs to a recipient of the encrypted file (number of \
                 recipients: {stanzas})"
            )
        };
        Error::new(ErrorKind::PermissionDenied, why)
    };
    let file_key = found.ok_or_else(denied)?;
    let end = header.read.len() - " \n".len() - BASE64.encode(given).len();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &derived(&file_key, &[], b"header"));
    hmac::verify(&key, &header.read[..end], &given).map_err(|_| wrong("its header is damaged"))?;
    Ok(file_key)
}

/// Returns the file key if the stanza was encrypted for this identity.
fn opened(own: [u8; 32], share: &[u8; 32], mut body: [u8; 32]) -> io::Result<Option<FileKey>> {
    let recipient = x25519(own, X25519_BASEPOINT_BYTES);
    let key = wrapping(own, *share, share, &recipient);
    let key = aead(&key.ok_or_else(|| wrong("its header has an invalid key share"))?)?;
    let open = key.open_in_place(zero(), Aad::empty(), &mut body);
    Ok(open.ok().and_then(|open| FileKey::try_from(&*open).ok()))
}

struct Stanza<'l> {
    kind: &'l str,
    arguments: Vec<&'l str>,
    body: Vec<u8>,
}

struct Header<R> {
    from: io::Take<R>,
    /// The bytes read so far.
    read: Vec<u8>,
}

impl<R: BufRead> Header<R> {
    fn line(&mut self) -> io::Result<String> {
        let start = self.read.len();
        self.from.read_until(b'\n', &mut self.read)?;
        if self.from.limit() == 0 {
            return Err(wrong("its header is longer than 4 MiB"));
        }
        let line = self.read[start..]
            .strip_suffix(b"\n")
            .ok_or_else(|| wrong("its header is truncated"))?;
        String::from_utf8(line.to_vec()).map_err(|_| wrong("its header is not text"))
    }

    /// Reads the stanza that starts with this line. A stanza consists of words of visible
    /// characters, followed by lines of base64, all of which are full except the last.
    fn stanza<'l>(&mut self, line: &'l str) -> io::Result<Stanza<'l>> {
        let words = line
            .strip_prefix("-> ")
            .ok_or_else(|| wrong("a line of its header is not a stanza"))?;
        let mut arguments: Vec<&str> = words.split(' ').collect();
        if !arguments
            .iter()
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(wrong("a stanza of its header has an invalid argument"));
        }
        let kind = arguments.remove(0);
        let mut body = String::new();
        loop {
            let line = self.line()?;
            body.push_str(&line);
            match line.len() {
                0..COLUMNS => break,
                COLUMNS => {}
                _ => return Err(wrong("a line of its header is too long")),
            }
        }
        let body = BASE64
            .decode(&body)
            .map_err(|_| wrong("a stanza of its header is not in base64"))?;
        Ok(Stanza {
            kind,
            arguments,
            body,
        })
    }
}

fn decoded<const N: usize>(text: &str) -> io::Result<[u8; N]> {
    let bytes = BASE64
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| {
        wrong(
            "its header has a key with a wrong length or with invalid \
         characters",
        )
    })
}
