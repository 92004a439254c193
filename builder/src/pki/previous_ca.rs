//! A node's certificates from the authority that is being replaced. The node presents them until
//! all others trust the new authority, so that members that do not trust it yet still accept a node
//! that is reinstalled in the meantime.

use std::path::Path;

use recipes::node::{KeyPair, NodeTls};

use super::validate::{self, Mismatch, Requirements, Role, Subject};
use super::{Event, Pki, PkiError, files, store};

/// The name of their folder, within the node's.
const BEFORE: &str = "before";

impl Pki {
    /// All three pairs from the previous authority. A pair that can no longer be used is archived.
    pub(super) fn previous_ca_tls(
        &mut self,
        node: &Path,
        subject: &Subject<'_>,
    ) -> Result<Option<NodeTls>, PkiError> {
        let folder = node.join(BEFORE);
        if !folder.exists() {
            return Ok(None);
        }
        let mut pairs = Vec::new();
        for role in Role::ALL {
            let (cert, key) = files(&folder, role);
            let pair = store::read(&cert)?
                .zip(store::read_secret(&key)?)
                .map(|(cert, key)| KeyPair { cert, key });
            pairs.extend(
                pair.filter(|pair| self.is_trusted(&pair.cert, Some(&pair.key), role, subject)),
            );
        }
        let Ok([server, peer, client]) = <[KeyPair; 3]>::try_from(pairs) else {
            let kept = store::archive(&folder, self.now)?;
            let why = "its authority is trusted no longer, or they have run out".to_owned();
            self.events.push(Event::Replaced {
                path: folder,
                why,
                kept,
            });
            return Ok(None);
        };
        Ok(Some(NodeTls {
            ca: self.signer.pem.clone(),
            server,
            peer,
            client,
        }))
    }

    /// Keeps a pair that is about to be replaced because of the authority. If the build is killed
    /// here, the next one repeats this.
    pub(super) fn keep_previous(
        &self,
        node: &Path,
        (cert, key, mismatches): (Option<&str>, Option<&str>, Option<&[Mismatch]>),
        role: Role,
        subject: &Subject<'_>,
    ) -> Result<(), PkiError> {
        let by_another = mismatches.is_some_and(|mismatches| {
            mismatches
                .iter()
                .any(|mismatch| matches!(mismatch, Mismatch::Chain(_)))
        });
        let Some(pem) = cert.filter(|_| by_another) else {
            return Ok(());
        };
        if !self.is_trusted(pem, key, role, subject) {
            return Ok(());
        }
        let ((cert, key), folder) = (files(node, role), node.join(BEFORE));
        let (second, second_key) = files(&folder, role);
        store::folder(&folder)?;
        store::link(&key, &second_key)?;
        store::link(&cert, &second)
    }

    /// Whether a certificate would work on a node, under any of the authorities.
    fn is_trusted(&self, cert: &str, key: Option<&str>, role: Role, subject: &Subject<'_>) -> bool {
        let requirements = Requirements {
            authorities: &self.signer.trusted,
            ..self.requirements(role, subject)
        };
        !validate::mismatches(cert, key, &requirements)
            .iter()
            .any(Mismatch::is_fatal)
    }
}
