//! Manages the private keys that this node generated itself. The current keys and the next keys are
//! in two files that only root can read. No node document and no image replaces these files, and no
//! command prints the keys. A node document that contains certificates without keys is usable only
//! together with these keys.

pub(crate) mod der;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use recipes::node::{DocumentCertificate, KeyPair, NodeTls, key_fingerprint};
use recipes::{Sha256, pem};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::exit::refused;
use crate::files::{self, DesiredDir, DesiredFile, ROOT};
use crate::paths;
use crate::reason::ReasonId;

/// The keys for server, peer and client certificates, as PKCS #8.
pub(crate) struct KeySet([Vec<u8>; 3]);

// The output omits the keys, so that a `{:?}` never writes them to a log.
impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySet(secret)")
    }
}

impl KeySet {
    /// Generates new ECDSA P-256 keys, which every version of etcd and of its clients supports.
    pub(crate) fn generate() -> Result<Self> {
        let random = SystemRandom::new();
        let one = || {
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
                .map(|document| document.as_ref().to_vec())
        };
        let keys = [one(), one(), one()].map(Result::ok);
        match keys {
            [Some(server), Some(peer), Some(client)] => Ok(Self([server, peer, client])),
            _ => anyhow::bail!("the kernel provides no random numbers for a key"),
        }
    }

    fn parse(pem: &[u8]) -> Result<Self> {
        let keys = PrivatePkcs8KeyDer::pem_slice_iter(pem)
            .map(|key| Ok(key?.secret_pkcs8_der().to_vec()))
            .collect::<Result<Vec<_>>>()?;
        let count = keys.len();
        let keys = <[Vec<u8>; 3]>::try_from(keys)
            .map_err(|_| anyhow::anyhow!("it contains {count} keys instead of three"))?;
        let set = Self(keys);
        set.pairs()?;
        Ok(set)
    }

    /// Returns the key pairs, which can create signatures.
    pub(crate) fn pairs(&self) -> Result<[EcdsaKeyPair; 3]> {
        let open = |der: &[u8]| {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new())
                .map_err(|error| {
                    anyhow::anyhow!("one of its keys is not an ECDSA P-256 key: {error}")
                })
        };
        let [server, peer, client] = &self.0;
        Ok([open(server)?, open(peer)?, open(client)?])
    }

    /// Returns a key in PEM format.
    pub(crate) fn pem(&self, purpose: usize) -> String {
        pem::encode("PRIVATE KEY", &self.0[purpose])
    }

    /// Returns the fingerprint of the keys, by which an operator recognises this node's request.
    pub(crate) fn fingerprint(&self) -> Result<Sha256> {
        let public = self
            .pairs()?
            .map(|pair| der::public_key(pair.public_key().as_ref()));
        Ok(key_fingerprint(&public))
    }

    fn read(path: &str) -> Result<Option<Self>> {
        let Some(bytes) = files::read_if_there(path)? else {
            return Ok(None);
        };
        let damaged = |error: anyhow::Error| {
            refused(ReasonId::OwnKeysDamaged.because(format!(
                "{path} does not contain this node's keys: {error:#}. Remove the file, so that \
                 firstboot generates new keys, and approve them with `builder pki approve`"
            )))
        };
        Self::parse(&bytes).map(Some).map_err(damaged)
    }

    /// Returns the keys in a file. If the file does not exist, creates the keys and stores them
    /// durably. Two processes that call this function at the same time receive the same keys.
    fn ensure(path: &str) -> Result<Self> {
        let _lock = lock()?;
        if let Some(keys) = Self::read(path)? {
            return Ok(keys);
        }
        DesiredDir::new(paths::STATE, 0o700, ROOT).make()?;
        let keys = Self::generate()?;
        let text: String = (0..3).map(|purpose| keys.pem(purpose)).collect();
        DesiredFile::new(path, text).mode(0o600, ROOT).write()?;
        Ok(keys)
    }

    /// Returns whether a certificate is for the key with this purpose.
    fn matches(&self, purpose: usize, cert: &str) -> bool {
        let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<Vec<_>, _>>();
        let key = PrivateKeyDer::try_from(self.0[purpose].as_slice());
        let (Ok(chain), Ok(key)) = (chain, key) else {
            return false;
        };
        let key = rustls::crypto::ring::sign::any_supported_type(&key);
        key.is_ok_and(|key| !chain.is_empty() && CertifiedKey::new(chain, key).keys_match().is_ok())
    }
}

/// All keys that this node has.
#[derive(Debug, Default)]
pub(crate) struct OwnKeys {
    current: Option<KeySet>,
    /// New keys for which this node does not have certificates yet. Until the node has these
    /// certificates, it uses the current keys.
    next: Option<KeySet>,
}

impl OwnKeys {
    /// Reads the keys, but does not generate missing keys.
    pub(crate) fn read() -> Result<Self> {
        Ok(Self {
            current: KeySet::read(paths::OWN_KEYS)?,
            next: KeySet::read(paths::NEXT_KEYS)?,
        })
    }

    /// Returns the keys that need certificates: the next keys if there are any, otherwise the
    /// current keys.
    pub(crate) fn wanted(&self) -> Option<&KeySet> {
        self.next.as_ref().or(self.current.as_ref())
    }

    /// Returns all key sets for which the node may request certificates. The key set that needs
    /// certificates is first.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &KeySet> {
        [&self.next, &self.current].into_iter().flatten()
    }

    pub(crate) fn into_next(self) -> Option<KeySet> {
        self.next
    }

    /// Adds this node's keys to the document's certificates that come without a key. Returns `None`
    /// if such a certificate is for a key that this node does not have.
    pub(crate) fn complete(&self, tls: &NodeTls<DocumentCertificate>) -> Option<NodeTls> {
        let pair = |purpose: usize| {
            let certificate = tls.pairs()[purpose];
            let own = || {
                let mut matching = self
                    .sets()
                    .filter(|keys| keys.matches(purpose, &certificate.cert));
                matching.next().map(|keys| keys.pem(purpose))
            };
            Some(KeyPair {
                cert: certificate.cert.clone(),
                key: certificate.key.clone().or_else(own)?,
            })
        };
        Some(NodeTls {
            ca: tls.ca.clone(),
            server: pair(0)?,
            peer: pair(1)?,
            client: pair(2)?,
        })
    }

    /// Returns the reason why this node cannot use a document whose certificates are for other
    /// keys.
    pub(crate) fn mismatch_reason(&self) -> String {
        let fault = match self.wanted() {
            Some(_) => "the document's certificates are for keys that this node does not have",
            None => {
                "the document contains certificates without keys, and this node has not generated any keys"
            }
        };
        format!("{fault}. {}", self.request_hint())
    }

    /// Explains how an operator obtains certificates for this node's keys.
    pub(crate) fn request_hint(&self) -> String {
        let key = match self.wanted().map(KeySet::fingerprint) {
            Some(Ok(fingerprint)) => format!("This node's key is {fingerprint}: "),
            _ => String::new(),
        };
        format!(
            "{key}`firstboot csr` prints this node's request, from which `builder pki sign` creates the node document"
        )
    }
}

/// Generates this node's keys, unless they already exist.
pub(crate) fn ensure() -> Result<KeySet> {
    KeySet::ensure(paths::OWN_KEYS)
}

/// Generates this node's next keys, unless they already exist.
pub(crate) fn ensure_next() -> Result<KeySet> {
    KeySet::ensure(paths::NEXT_KEYS)
}

/// Makes the next keys the current keys if these certificates are for the next keys. If firstboot
/// crashes before this change, the next keys remain in their own file.
pub(crate) fn activate_next_keys(tls: &NodeTls) -> Result<()> {
    let _lock = lock()?;
    let Some(next) = KeySet::read(paths::NEXT_KEYS)? else {
        return Ok(());
    };
    let mut in_use = tls.pairs().into_iter().enumerate();
    if in_use.all(|(purpose, pair)| next.matches(purpose, &pair.cert)) {
        files::rename(Path::new(paths::NEXT_KEYS), Path::new(paths::OWN_KEYS))?;
    }
    Ok(())
}

/// Prevents two processes from generating or replacing keys at the same time.
fn lock() -> Result<Flock<std::fs::File>> {
    DesiredDir::new(paths::RUN, 0o755, ROOT).make()?;
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(paths::KEYS_LOCK);
    let file = file.with_context(|| format!("cannot open {}", paths::KEYS_LOCK))?;
    let locked = Flock::lock(file, FlockArg::LockExclusive);
    ensure!(locked.is_ok(), "cannot lock {}", paths::KEYS_LOCK);
    locked.map_err(|(_, error)| error.into())
}

#[cfg(test)]
mod tests;
