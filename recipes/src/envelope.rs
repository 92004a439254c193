//! Signed documents: DSSE envelopes with ed25519 signatures (github.com/secure-systems-lab/dsse,
//! envelope.md and protocol.md). The image contains the public key. The holder of the private key
//! decides which machine becomes which node.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::Sha256;

/// A payload with its type and the signatures over both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// The kind of payload. The type prevents a document of one kind from being read as a document
    /// of another kind.
    pub payload_type: String,
    /// The payload in base64.
    pub payload: String,
    /// The signatures. At least one signature must be made with the key that the reader trusts.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The id of the key that made the signature. The id is only a hint and proves nothing.
    pub keyid: String,
    /// The signature in base64.
    pub sig: String,
}

/// The reason why an envelope is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The payload is not of the requested kind.
    #[error("its type is `{found}`, but `{expected}` was expected")]
    Type {
        /// The requested kind.
        expected: String,
        /// The kind that the envelope states.
        found: String,
    },
    /// The envelope does not have any signature.
    #[error("it is not signed")]
    Unsigned,
    /// The envelope is signed, but not with the trusted key.
    #[error("it is signed by {found}, but this image trusts only {trusted}")]
    Untrusted {
        /// The key ids in the envelope.
        found: String,
        /// The id of the trusted key.
        trusted: String,
    },
    /// The envelope names the trusted key, but the signature does not match the content.
    #[error("its signature by {0} does not match its content: it was altered after signing")]
    Altered(String),
    /// A part of the envelope is not base64.
    #[error("its {0} is not base64")]
    Encoding(&'static str),
}

/// Returns the bytes that a signature covers (DSSE's pre-authentication encoding): the type and the
/// payload, each preceded by its length. Because of the lengths, no byte can move from the type to
/// the payload or vice versa.
fn covered(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    out.extend_from_slice(payload);
    out
}

impl Envelope {
    /// Returns the payload without checking the signature. Only a program that made the envelope
    /// itself, or that only passes it on, may use this function.
    pub fn unverified(&self) -> Result<Vec<u8>, EnvelopeError> {
        BASE64
            .decode(&self.payload)
            .map_err(|_| EnvelopeError::Encoding("payload"))
    }

    /// Returns the digest of the payload. The digest identifies a document without revealing its
    /// content.
    pub fn payload_digest(&self) -> Result<Sha256, EnvelopeError> {
        self.unverified().map(|payload| Sha256::of(&payload))
    }

    /// Returns the payload if `key` signed it with the type `payload_type`.
    pub fn open(&self, payload_type: &str, key: &PublicKey) -> Result<Vec<u8>, EnvelopeError> {
        if self.signatures.is_empty() {
            return Err(EnvelopeError::Unsigned);
        }
        let payload = BASE64
            .decode(&self.payload)
            .map_err(|_| EnvelopeError::Encoding("payload"))?;
        let message = covered(&self.payload_type, &payload);
        let mut named = false;
        for signature in &self.signatures {
            named |= signature.keyid == key.id();
            let sig = BASE64
                .decode(&signature.sig)
                .map_err(|_| EnvelopeError::Encoding("signature"))?;
            if UnparsedPublicKey::new(&ED25519, key.0)
                .verify(&message, &sig)
                .is_ok()
            {
                // Compare the type only after the check of the signature, because before this check
                // the type is an unverified claim.
                if self.payload_type != payload_type {
                    let (expected, found) = (payload_type.to_owned(), self.payload_type.clone());
                    return Err(EnvelopeError::Type { expected, found });
                }
                return Ok(payload);
            }
        }
        if named {
            return Err(EnvelopeError::Altered(key.id()));
        }
        let found: Vec<&str> = self.signatures.iter().map(|s| s.keyid.as_str()).collect();
        Err(EnvelopeError::Untrusted {
            found: found.join(", "),
            trusted: key.id(),
        })
    }
}

/// The public half of a signing key. The text form of the key is `ed25519 BASE64`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// The reason why a key cannot be parsed or generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(&'static str);

impl PublicKey {
    /// Returns a short name for the key: the first 16 hexadecimal digits of its SHA-256 digest.
    pub fn id(&self) -> String {
        crate::Sha256::of(&self.0).to_string()[..16].to_owned()
    }

    /// Returns the key as a `SubjectPublicKeyInfo` in DER (RFC 8410), the form that a certificate
    /// contains.
    pub fn subject_public_key_info(&self) -> Vec<u8> {
        const ED25519: [u8; 12] = [
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
        ];
        [&ED25519[..], &self.0].concat()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let error = KeyError(
            "not a public key: expected one line with `ed25519` and the base64 of 32 bytes",
        );
        let encoded = text
            .trim()
            .strip_prefix("ed25519 ")
            .ok_or_else(|| error.clone())?;
        let bytes = BASE64.decode(encoded.trim()).map_err(|_| error.clone())?;
        Ok(Self(bytes.try_into().map_err(|_| error)?))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519 {}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// A signing key in memory.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

impl SigningKey {
    /// Generates a new key from the system's random numbers, as a PKCS #8 document.
    pub fn generate() -> Result<Vec<u8>, KeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new());
        document
            .map(|d| d.as_ref().to_vec())
            .map_err(|_| KeyError("the system does not provide random numbers"))
    }

    /// Reads the key from a PKCS #8 document (DER).
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_pkcs8(der)
            .map(Self)
            .map_err(|_| KeyError("not an ed25519 key in PKCS #8"))
    }

    /// Returns the public half of the key.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs the payload with the type `payload_type`. Ed25519 is deterministic: the same payload
    /// always produces the same envelope.
    pub fn sign(&self, payload_type: &str, payload: &[u8]) -> Envelope {
        let sig = self.0.sign(&covered(payload_type, payload));
        Envelope {
            payload_type: payload_type.to_owned(),
            payload: BASE64.encode(payload),
            signatures: vec![Signature {
                keyid: self.public().id(),
                sig: BASE64.encode(sig),
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_signed_payload_is_read_back() {
        let key = key();
        let envelope = key.sign("a/b", b"hello");
        assert_eq!(envelope.open("a/b", &key.public()).unwrap(), b"hello");
        assert_eq!(
            key.public().to_string().parse::<PublicKey>().unwrap(),
            key.public()
        );
    }

    #[test]
    fn each_fault_has_its_own_error() {
        let (key, other) = (key(), key());
        let good = key.sign("a/b", b"hello");
        assert!(matches!(
            good.open("a/c", &key.public()),
            Err(EnvelopeError::Type { .. })
        ));
        assert!(matches!(
            good.open("a/b", &other.public()),
            Err(EnvelopeError::Untrusted { .. })
        ));

        let altered = Envelope {
            payload: BASE64.encode("hellO"),
            ..good.clone()
        };
        assert_eq!(
            altered.open("a/b", &key.public()),
            Err(EnvelopeError::Altered(key.public().id()))
        );
        let retyped = Envelope {
            payload_type: "a/c".into(),
            ..good.clone()
        };
        assert_eq!(
            retyped.open("a/c", &key.public()),
            Err(EnvelopeError::Altered(key.public().id()))
        );
        let unsigned = Envelope {
            signatures: vec![],
            ..good.clone()
        };
        assert_eq!(
            unsigned.open("a/b", &key.public()),
            Err(EnvelopeError::Unsigned)
        );
        let garbled = Envelope {
            payload: "%".into(),
            ..good
        };
        assert_eq!(
            garbled.open("a/b", &key.public()),
            Err(EnvelopeError::Encoding("payload"))
        );
    }
}
