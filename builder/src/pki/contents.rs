//! Issues new certificates for a node when another part of the node's document changes, such as the
//! object store's credentials. Nodes compare documents by the dates of their certificates, so a
//! changed document with the same certificates would not be newer than the previous document.

use std::path::Path;

use recipes::{Label, Sha256};

use super::{Pki, PkiError, store};

/// The name of the file, in the node's folder, with the digest of the parts of the node's document
/// for which the certificates were issued. The digested parts may contain secrets.
const FILE: &str = "contents-digest";

impl Pki {
    /// Calls `issue`, which returns a node's certificates. `contents` is the digest of the other
    /// parts of the node's document. If these parts differ from the previous document, `issue`
    /// replaces the node's certificates. The digest is recorded after the certificates were
    /// replaced, so a build that is killed in between replaces them again.
    ///
    /// Earlier builders did not record the digest, so the first build with this builder only
    /// records it.
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
