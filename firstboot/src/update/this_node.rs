//! Reads the files that describe this node and its image.

use anyhow::{Context as _, Result};
use recipes::node::NODE_TYPE;
use recipes::{ClusterDocument, Envelope, NodeDocument, PublicKey, ReleaseDocument};

use super::check_release::OwnImage;
use super::source::Source;
use super::state::Updated;
use crate::exit::refused;
use crate::identity::Identity;
use crate::journal::Journal;
use crate::own_keys::OwnKeys;
use crate::reason::ReasonId;
use crate::{files, identity, paths, rotation};

/// This node, as its own files describe it.
#[derive(Debug)]
pub(super) struct ThisNode {
    pub(super) node: recipes::Label,
    pub(super) cluster: ClusterDocument,
    pub(super) signing_key: PublicKey,
    pub(super) image: OwnImage,
    document: NodeDocument,
    envelope: Envelope,
}

impl ThisNode {
    /// Reads the files.
    ///
    /// # Errors
    /// Returns a refusal if this node has never been set up, or if the signature of its document is
    /// not valid.
    pub(super) fn read() -> Result<Self> {
        let (cluster, signing_key) = (identity::cluster()?, identity::signing_public_key()?);
        let never = || {
            refused(
                ReasonId::UpdateNotSetUp
                    .because("this node has no document yet: `firstboot run` sets the node up"),
            )
        };
        let envelope: Envelope = serde_json::from_slice(
            &files::read_if_there(paths::ACCEPTED_DOCUMENT)?.ok_or_else(never)?,
        )
        .with_context(|| format!("{} is not a node document", paths::ACCEPTED_DOCUMENT))?;
        let payload = envelope.open(NODE_TYPE, &signing_key);
        let payload = payload.map_err(|error| {
            let why = format!("{}: {error}", paths::ACCEPTED_DOCUMENT);
            refused(ReasonId::DocumentRefused.because(why))
        })?;
        let document: NodeDocument = serde_json::from_slice(&payload)
            .with_context(|| format!("{} cannot be parsed", paths::ACCEPTED_DOCUMENT))?;
        let installed = String::from_utf8_lossy(&files::read(paths::INSTALLED)?)
            .trim()
            .to_owned();
        let overlay = installed.parse().with_context(|| {
            format!(
                "{} does not contain the digest of an image",
                paths::INSTALLED
            )
        })?;
        let base = files::read_if_there(paths::BASE)?;
        let base = base.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        let base = base.with_context(|| format!("{} cannot be parsed", paths::BASE))?;
        let image = OwnImage {
            overlay,
            base,
            etcd: cluster.etcd.version,
            updated_to: Updated::read()?.map(|updated| updated.serial),
            document: document.release,
        };
        Ok(Self {
            node: document.name.clone(),
            cluster,
            signing_key,
            image,
            document,
            envelope,
        })
    }

    pub(super) fn document(&self) -> &NodeDocument {
        &self.document
    }

    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Fetches a release, and checks the release's signature and cluster.
    pub(super) fn fetch(&self, source: &Source) -> Result<ReleaseDocument> {
        let text = source.release()?;
        ReleaseDocument::open(&text, &self.signing_key, &self.cluster.name).map_err(|error| {
            refused(
                ReasonId::UpdateRelease
                    .because(format!("the release from {source} is refused: {error}")),
            )
        })
    }

    /// Returns the node's identity, whose field `tls` contains the certificates that the node must
    /// use now.
    pub(super) fn identity(&self) -> Result<Identity> {
        let own = OwnKeys::read()?;
        let document_tls = own.complete(&self.document.tls);
        let document_tls = document_tls
            .ok_or_else(|| refused(ReasonId::DocumentOtherKey.because(own.mismatch_reason())))?;
        let previous = self.document.previous_ca_tls.as_ref();
        let mut identity = Identity {
            node: self.document.clone(),
            previous_ca_tls: previous.and_then(|tls| own.complete(tls)),
            tls: document_tls.clone(),
            document_tls,
            envelope: self.envelope.clone(),
            origin: paths::ACCEPTED_DOCUMENT.to_owned(),
            cluster: self.cluster.clone(),
        };
        rotation::defer_certificates(&mut identity, &Journal::open_read_only(paths::JOURNAL)?)?;
        Ok(identity)
    }
}
