//! The key that signs node documents, the image's manifest and the image release.

use std::path::Path;

use rcgen::KeyPair;
use recipes::{PublicKey, SigningKey};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Event, PkiError, store};

/// The name of the file in the PKI folder that contains the private half.
const KEY: &str = "signing.key";
/// The name of the file with the public half, which images trust.
const PUBLIC: &str = "signing.pub";

/// Returns the public half of a folder's signing key, or `None` if the folder has no `signing.pub`
/// yet.
pub(crate) fn signing_public_key(dir: &Path) -> Result<Option<PublicKey>, PkiError> {
    let path = dir.join(PUBLIC);
    let Some(text) = store::read(&path)? else {
        return Ok(None);
    };
    text.trim().parse().map(Some).map_err(|_| {
        PkiError::wrong(
            &path,
            "it is not the public half of a signing key",
            "restore a signing.key and a signing.pub that match",
        )
    })
}

/// Returns the signing key of a folder that a build has created, as PKCS #8.
pub(crate) fn signing_key(dir: &Path) -> Result<Vec<u8>, PkiError> {
    let key = dir.join(KEY);
    let der = store::read_secret(&key)?
        .and_then(|pem| PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok());
    match der {
        Some(PrivateKeyDer::Pkcs8(der)) => Ok(der.secret_pkcs8_der().to_vec()),
        _ => Err(PkiError::wrong(
            &key,
            "the key that signs documents is missing, or is not a PKCS #8 key in PEM",
            "name a PKI folder that `builder build` has created",
        )),
    }
}

/// Reads and checks the signing key, without writing anything. Returns `None` if the folder has no
/// signing key yet.
pub(super) fn read(dir: &Path) -> Result<Option<SigningKey>, PkiError> {
    let (key, public) = (dir.join(KEY), dir.join(PUBLIC));
    let Some(pem) = store::read_secret(&key)? else {
        if store::exists(&public)? {
            return Err(PkiError::wrong(
                &key,
                "it is missing, but images trust its public half, signing.pub",
                "restore it from a backup, or remove signing.pub and reinstall every node from the \
                 new image",
            ));
        }
        return Ok(None);
    };
    let signing = parse(&key, &pem)?;
    match store::read(&public)? {
        Some(text) if text.trim().parse::<PublicKey>().ok() != Some(signing.public()) => {
            Err(PkiError::wrong(
                &public,
                format!(
                    "it is not the public half of signing.key, which is `{}`",
                    signing.public()
                ),
                "restore a signing.key and a signing.pub that match",
            ))
        }
        _ => Ok(Some(signing)),
    }
}

/// Refuses a folder without a signing key or without its public half. A build writes both files, so
/// such a folder is not the folder that the build used, or it has lost its files.
pub(super) fn check_exists(dir: &Path) -> Result<(), PkiError> {
    for name in [KEY, PUBLIC] {
        if !store::exists(&dir.join(name))? {
            return Err(missing(dir));
        }
    }
    Ok(())
}

/// Returns the error for a folder that [`check_exists`] refuses.
pub(super) fn missing(dir: &Path) -> PkiError {
    PkiError::wrong(
        dir,
        "its signing.key or signing.pub is missing, so it is not the PKI folder of a build",
        "mount or restore the folder. Nothing was created or signed",
    )
}

/// Returns whether a build has written the public half of the signing key.
pub(super) fn is_published(dir: &Path) -> Result<bool, PkiError> {
    store::exists(&dir.join(PUBLIC))
}

/// Writes the public half of the signing key if it is missing.
pub(super) fn publish(dir: &Path, signing: &SigningKey) -> Result<(), PkiError> {
    if is_published(dir)? {
        return Ok(());
    }
    store::put(
        &dir.join(PUBLIC),
        format!("{}\n", signing.public()).as_bytes(),
        store::PUBLIC,
    )
}

/// Creates the signing key.
pub(super) fn make(dir: &Path, events: &mut Vec<Event>) -> Result<SigningKey, PkiError> {
    let key = dir.join(KEY);
    let made = SigningKey::generate().map_err(|error| {
        PkiError::wrong(
            &key,
            error.to_string(),
            "build on a system with /dev/urandom",
        )
    })?;
    let pem = KeyPair::try_from(made.as_slice())
        .map_err(PkiError::make(&key))?
        .serialize_pem();
    store::put(&key, pem.as_bytes(), store::SECRET)?;
    events.push(Event::Made { path: key.clone() });
    parse(&key, &pem)
}

fn parse(key: &Path, pem: &str) -> Result<SigningKey, PkiError> {
    let broken = |found: String| PkiError::wrong(key, found, "restore it from a backup");
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(PrivateKeyDer::Pkcs8(der)) => SigningKey::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|error| broken(error.to_string())),
        _ => Err(broken("it is not a PKCS #8 key in PEM".to_owned())),
    }
}
