//! The record of the keys that a node made itself.

use std::path::Path;

use super::certificate::Certificate;
use super::error::PkiError;
use super::public_keys::PublicKeys;
use super::store;

/// The record of a node's keys, in the node's folder.
pub(super) const ENROLLED: &str = "enrolled.pub";

/// What is wrong with a certificate that has no private key next to it.
pub(super) fn problem(cert: &Path, chain: &[Certificate]) -> Result<Option<String>, PkiError> {
    let Some(keys) = cert.parent().map(read).transpose()?.flatten() else {
        return Ok(Some("its private key is missing".to_owned()));
    };
    let held = chain
        .first()
        .is_some_and(|leaf| keys.holds(&leaf.public_key));
    Ok((!held).then(|| "it is not for a key of the node".to_owned()))
}

/// The keys of the node with this folder; `None` if it has enrolled none.
pub(super) fn read(folder: &Path) -> Result<Option<PublicKeys>, PkiError> {
    let path = folder.join(ENROLLED);
    let Some(text) = store::read(&path)? else {
        return Ok(None);
    };
    PublicKeys::of_record(&text).map(Some).ok_or_else(|| {
        let found = "it does not hold the three public keys of the node";
        PkiError::wrong(&path, found, "restore it from a backup")
    })
}
