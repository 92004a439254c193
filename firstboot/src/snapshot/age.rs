//! Encrypts and decrypts files in the format age-encryption.org/v1 with X25519 keys. The `age`
//! program uses the same format. firstboot does not use the crate `age`, because that crate
//! contains translations and support for post-quantum keys, and is larger than all of firstboot's
//! own code.
//!
//! The header contains the file key, encrypted for each recipient, and a MAC whose key is derived
//! from the file key. Chunks of 64 KiB follow the header. Each chunk is encrypted with a nonce that
//! contains the chunk's number and a flag for the last chunk, so a reader detects any chunk that
//! was changed, moved, removed or added.

mod header;
mod keys;

use std::io::{self, BufRead, Error, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use recipes::Recipient;
use ring::aead::{Aad, LessSafeKey, Nonce};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use keys::{FileKey, aead, derived, wrapping, wrong, zero};
pub(super) use keys::{Identities, MAGIC};

/// The size in bytes of one recipient's stanza in the header. The header's first line and its MAC
/// together need less space than one stanza.
const STANZA: u64 = 98;
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;

fn mac(file_key: &FileKey, header: &[u8]) -> hmac::Tag {
    hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, &derived(file_key, &[], b"header")),
        header,
    )
}

fn payload(file_key: &FileKey, nonce: &[u8]) -> io::Result<Chunks> {
    Ok(Chunks {
        key: aead(&derived(file_key, nonce, b"payload"))?,
        count: 0,
    })
}

/// The key for the chunks, and the number of chunks that have been processed.
struct Chunks {
    key: LessSafeKey,
    count: u64,
}

impl Chunks {
    fn nonce(&mut self, last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.count.to_be_bytes());
        nonce[11] = u8::from(last);
        self.count += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// A writer that encrypts all bytes that are written to it.
pub(super) struct Encryptor<W> {
    to: W,
    chunks: Chunks,
    filling: Vec<u8>,
}

impl<W: Write> Encryptor<W> {
    pub(super) fn begin(recipients: &[Recipient], mut to: W) -> io::Result<Self> {
        if recipients.len() as u64 > header::LIMIT / STANZA - 1 {
            return Err(Error::other(format!(
                "the header of an age file does not have room for {} recipients",
                recipients.len()
            )));
        }
        let random = SystemRandom::new();
        let draw = |out: &mut [u8]| {
            random
                .fill(out)
                .map_err(|_| Error::other("the operating system returned no random bytes"))
        };
        let (mut file_key, mut nonce) = ([0; 16], [0; 16]);
        draw(&mut file_key)?;
        draw(&mut nonce)?;
        let mut header = MAGIC.to_vec();
        for recipient in recipients {
            let mut own = [0; 32];
            draw(&mut own)?;
            let share = x25519(own, X25519_BASEPOINT_BYTES);
            let key = wrapping(own, *recipient.key(), &share, recipient.key());
            let key =
                key.ok_or_else(|| Error::other(format!("{recipient} is not a valid X25519 key")))?;
            let mut body = file_key.to_vec();
            let sealed = aead(&key)?.seal_in_place_append_tag(zero(), Aad::empty(), &mut body);
            sealed.map_err(|_| Error::other("cannot encrypt the file key"))?;
            writeln!(
                header,
                "-> X25519 {}\n{}",
                BASE64.encode(share),
                BASE64.encode(body)
            )?;
        }
        header.extend_from_slice(b"---");
        let mac = BASE64.encode(mac(&file_key, &header));
        writeln!(header, " {mac}")?;
        to.write_all(&header)?;
        to.write_all(&nonce)?;
        Ok(Self {
            to,
            chunks: payload(&file_key, &nonce)?,
            filling: Vec::with_capacity(CHUNK + TAG),
        })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.chunks.nonce(last);
        let sealed =
            self.chunks
                .key
                .seal_in_place_append_tag(nonce, Aad::empty(), &mut self.filling);
        sealed.map_err(|_| Error::other("cannot encrypt a chunk"))?;
        self.to.write_all(&self.filling)?;
        self.filling.clear();
        Ok(())
    }

    /// Writes the last chunk. Without this chunk, a reader cannot decrypt the file to its end.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Encryptor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Encrypt a full chunk only when more bytes arrive, because until then the chunk may be the
        // last one.
        if self.filling.len() == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.filling.len());
        self.filling.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A reader that decrypts an encrypted file. The content is known to be authentic and complete only
/// after the reader has reached the end of the file without an error.
pub(super) struct Decryptor<R> {
    from: R,
    chunks: Chunks,
    /// The next encrypted chunk, which is read ahead to determine whether the current chunk is the
    /// last one.
    next: Vec<u8>,
    open: Vec<u8>,
    given: usize,
}

impl<R: BufRead> Decryptor<R> {
    pub(super) fn begin(mut from: R, identities: &Identities) -> io::Result<Self> {
        let file_key = header::unlock(&mut from, identities)?;
        let mut nonce = [0; 16];
        from.read_exact(&mut nonce)?;
        let chunks = payload(&file_key, &nonce)?;
        let mut opener = Self {
            from,
            chunks,
            next: Vec::with_capacity(CHUNK + TAG),
            open: Vec::new(),
            given: 0,
        };
        opener.fetch()?;
        if opener.next.is_empty() {
            return Err(wrong("it is truncated after its header"));
        }
        Ok(opener)
    }

    fn fetch(&mut self) -> io::Result<()> {
        self.next.clear();
        self.from
            .by_ref()
            .take((CHUNK + TAG) as u64)
            .read_to_end(&mut self.next)
            .map(drop)
    }

    fn open(&mut self) -> io::Result<()> {
        std::mem::swap(&mut self.open, &mut self.next);
        self.fetch()?;
        let (last, first) = (self.next.is_empty(), self.chunks.count == 0);
        let nonce = self.chunks.nonce(last);
        let opened = self
            .chunks
            .key
            .open_in_place(nonce, Aad::empty(), &mut self.open);
        let length = opened
            .map_err(|_| wrong(&format!("its chunk {} is damaged", self.chunks.count)))?
            .len();
        if length == 0 && !first {
            return Err(wrong("its last chunk is empty"));
        }
        self.open.truncate(length);
        self.given = 0;
        Ok(())
    }
}

impl<R: BufRead> Read for Decryptor<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.given == self.open.len() && !self.next.is_empty() {
            self.open()?;
        }
        let count = to.len().min(self.open.len() - self.given);
        to[..count].copy_from_slice(&self.open[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests;
