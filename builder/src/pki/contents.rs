//! Issues new certificates for a node when the rest of the node's document changes, for example the
//! object store's credentials. Nodes compare documents by the dates of their certificates, so a
//! changed document with the same certificates would not be newer than the previous document.

use std::path::Path;

use recipes::{Label, Sha256};

use super::{Pki, PkiError, store};

/// The name of a file in the node's folder. When certificates are issued, the builder writes the
/// digest of the rest of the node's document to this file. The digested parts may contain secrets.
const FILE: &str = "contents-digest";

impl Pki {
    /// Calls `issue`, which returns a node's certificates. `contents` is the digest of the rest of
    /// the node's document. If this digest differs from the recorded digest, `issue` replaces the
    /// node's certificates. The digest is recorded after the certificates were replaced. If a build
    /// is killed in between, the next build therefore replaces the certificates again.
    ///
    /// Earlier versions of the builder did not record the digest. If there is no recorded digest, a
    /// build records the digest and keeps the certificates.
    pub(crate) fn issue_for<T>(
        &mut self,
        name: &Label,
        contents: Sha256,
        issue: impl FnOnce(&mut Self) -> Result<T, PkiError>,
    ) -> Result<T, PkiError> {
        let path = self.node_folder(name)?.join(FILE);
        let recorded = read(&path)?;
        self.are_contents_changed = recorded.is_some_and(|recorded| recorded != contents);
        let issued = issue(self);
        self.are_contents_changed = false;
        let issued = issued?;
        if recorded != Some(contents) {
            store::overwrite(&path, format!("{contents}\n").as_bytes(), store::SECRET)?;
        }
        Ok(issued)
    }
}

fn read(path: &Path) -> Result<Option<Sha256>, PkiError> {
    let Some(text) = store::read(path)? else {
        return Ok(None);
    };
    text.trim().parse().map(Some).map_err(|_| {
        let found = "it does not contain a digest";
        PkiError::wrong(path, found, "remove this file, and build again")
    })
}
