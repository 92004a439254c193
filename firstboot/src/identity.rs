//! Verifies the node document. firstboot accepts a node document only after this module has
//! verified it.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use recipes::cluster::Member;
use recipes::node::{NODE_TYPE, NodeTls};
use recipes::{ClusterDocument, Envelope, NodeDocument, PublicKey};

use crate::domain::CaSubject;
use crate::exit::refused;
use crate::machine::Machine;
use crate::metadata::FoundDocument;
use crate::own_keys::OwnKeys;
use crate::reason::{Reason, ReasonId};
use crate::rotation::trust_bundle::TrustBundle;
use crate::{certificates, files, paths};

/// A verified identity: the document's signature is valid, and the document was issued for this
/// machine and this cluster.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) node: NodeDocument,
    /// The signed document as firstboot received it. firstboot stores the document for the next
    /// boot.
    pub(crate) envelope: Envelope,
    /// The location of the document, as messages name it.
    pub(crate) origin: String,
    /// The cluster document in the image.
    pub(crate) cluster: ClusterDocument,
    /// The document's certificates with their keys. The keys come from the document or from this
    /// node.
    pub(crate) document_tls: NodeTls,
    /// The certificates that the previous CA issued, with their keys. The document contains them
    /// only while a CA is being replaced.
    pub(crate) previous_ca_tls: Option<NodeTls>,
    /// The certificates in use, which are the document's certificates unless `rotation` defers
    /// them.
    pub(crate) tls: NodeTls,
}

impl Identity {
    /// Returns the node's full name.
    pub(crate) fn fqdn(&self) -> String {
        self.cluster.fqdn(&self.node.name)
    }

    /// Returns this node's member in the cluster document.
    pub(crate) fn member(&self) -> Result<&Member> {
        self.cluster
            .member(&self.node.name)
            .context("this node's member is missing from the cluster document")
    }
}

/// Returns the cluster for which the image was built.
pub(crate) fn cluster() -> Result<ClusterDocument> {
    serde_json::from_slice(&files::read(paths::CLUSTER)?).with_context(|| {
        format!(
            "{} is not a cluster document. The image is broken: build it again",
            paths::CLUSTER
        )
    })
}

/// Returns the public key that verifies the signatures of documents.
pub(crate) fn signing_public_key() -> Result<PublicKey> {
    let text = String::from_utf8_lossy(&files::read(paths::SIGNING_PUBLIC_KEY)?).into_owned();
    text.parse().with_context(|| {
        format!(
            "{} is not a public key. The image is broken: build it again",
            paths::SIGNING_PUBLIC_KEY
        )
    })
}

/// Verifies a document.
///
/// # Errors
/// Returns a refusal if the document cannot be parsed, or if its signature, cluster, node, address,
/// machine or keys do not match.
pub(crate) fn verify(
    found: FoundDocument,
    key: &PublicKey,
    cluster: ClusterDocument,
    machine: &Machine,
    own: &OwnKeys,
) -> Result<Identity> {
    let FoundDocument { origin, envelope } = found;
    let remedy = "Give this machine its own folder nodes/NAME/ from the build that made this image";
    let no = |why: String| {
        let text = format!("the node document from {origin} cannot be used: {why}. {remedy}");
        refused(ReasonId::DocumentRefused.because(text))
    };

    let payload = envelope
        .open(NODE_TYPE, key)
        .map_err(|error| no(error.to_string()))?;
    let node: NodeDocument = serde_json::from_slice(&payload)
        .map_err(|error| no(format!("it cannot be parsed: {error}")))?;
    if node.cluster != cluster.name {
        return Err(no(format!(
            "it is for the cluster {}, but this image is for {}",
            node.cluster, cluster.name
        )));
    }
    let Some(member) = cluster.member(&node.name) else {
        let names: Vec<&str> = cluster
            .members
            .iter()
            .map(|member| member.name.as_str())
            .collect();
        return Err(no(format!(
            "it is for {}, but the members in this image are {}",
            node.name,
            names.join(", ")
        )));
    };
    if member.address != node.address {
        let (name, here, there) = (&node.name, member.address, node.address);
        return Err(no(format!(
            "it assigns {name} the address {there}, but this image assigns it {here}"
        )));
    }
    if let Some(why) = machine.differs_from(&node.machine) {
        return Err(no(why));
    }
    let Some(document_tls) = own.complete(&node.tls) else {
        let text = format!(
            "the node document from {origin} cannot be used: {}",
            own.mismatch_reason()
        );
        return Err(refused(ReasonId::DocumentOtherKey.because(text)));
    };
    Ok(Identity {
        previous_ca_tls: node
            .previous_ca_tls
            .as_ref()
            .and_then(|tls| own.complete(tls)),
        tls: document_tls.clone(),
        document_tls,
        node,
        envelope,
        origin,
        cluster,
    })
}

/// Returns the newer of two documents: the stored copy and the document of a source. If the copy is
/// newer, also returns why the source's document is outdated. The node must not use the older
/// document, because the keys in it may have been replaced after a leak. The copy can be newer than
/// the source's document because an update stores a new document and does not change the sources.
pub(crate) fn newest(
    identity: Identity,
    key: &PublicKey,
    machine: &Machine,
    own: &OwnKeys,
) -> Result<(Identity, Option<Reason>)> {
    let Some(bytes) = files::read_if_there(paths::ACCEPTED_DOCUMENT)? else {
        return Ok((identity, None));
    };
    // Ignore a stored copy that firstboot cannot parse, or cannot verify for this image and
    // machine.
    let Ok(copy) = FoundDocument::parse(paths::ACCEPTED_DOCUMENT, &bytes)
        .and_then(|found| verify(found, key, identity.cluster.clone(), machine, own))
    else {
        return Ok((identity, None));
    };
    // If the source's document is for a different node, return that document, so that the later
    // check against the journal refuses it.
    Ok(match outdated(&identity, &copy.node) {
        Some(why) if copy.node.name == identity.node.name => (copy, Some(why)),
        _ => (identity, None),
    })
}

/// Returns why a document is older than the accepted document, or `None` if it is not older. The
/// function compares the dates of the documents' newest certificates. A document contains the
/// serial of the newest image at the time when the document was built. If the dates are equal, the
/// function compares these serials. If the serials are also equal, a document that trusts
/// additional CAs is older. If any other part of a document changes, the builder also issues new
/// certificates, which have a later date.
pub(crate) fn outdated(identity: &Identity, accepted: &NodeDocument) -> Option<Reason> {
    let new = certificates::newest_not_before(&identity.node.tls).ok()?;
    let old = certificates::newest_not_before(&accepted.tls).ok()?;
    let dates = (new, identity.node.release).cmp(&(old, accepted.release));
    let retired = match dates {
        Ordering::Less => BTreeSet::new(),
        // Two documents from before and after `builder pki retire` differ only in their CAs.
        Ordering::Equal => also_trusted(&identity.node.tls.ca, &accepted.tls.ca),
        Ordering::Greater => return None,
    };
    if dates == Ordering::Equal && retired.is_empty() {
        return None;
    }
    if let Some(ca) = retired.first() {
        return Some(ReasonId::DocumentOutdated.because(format!(
            "the node document from {} is older than the accepted document: it still trusts {ca}. The \
             node uses the accepted document, {}",
            identity.origin,
            paths::ACCEPTED_DOCUMENT
        )));
    }
    let age = |not_before, release: Option<u64>| {
        let image = release.map(|serial| format!(" (build of image {serial})"));
        format!(
            "{}{}",
            certificates::date(not_before),
            image.unwrap_or_default()
        )
    };
    Some(ReasonId::DocumentOutdated.because(format!(
        "the node document from {} is older than the accepted document: its newest certificate is \
         valid from {}, and the newest certificate of the accepted document is valid from {}. The node uses the accepted \
         document, {}",
        identity.origin,
        age(new, identity.node.release),
        age(old, accepted.release),
        paths::ACCEPTED_DOCUMENT
    )))
}

/// If `ca` contains all CAs in `accepted`, returns the CAs that only `ca` contains. Otherwise,
/// returns an empty set. Also returns an empty set if a bundle cannot be parsed, because the steps
/// that use the CAs then refuse the document.
fn also_trusted(ca: &str, accepted: &str) -> BTreeSet<CaSubject> {
    let names = |pem: &str| Some(TrustBundle::read(pem).ok()?.names());
    match (names(ca), names(accepted)) {
        (Some(new), Some(old)) if old.is_subset(&new) => new.difference(&old).cloned().collect(),
        _ => BTreeSet::new(),
    }
}

/// Refuses a disk that was set up on a different machine.
pub(crate) fn check_clone(machine: &Machine, before: Option<&Machine>) -> Result<()> {
    match before.and_then(|before| machine.cloned_from(before)) {
        None => Ok(()),
        Some(why) => Err(refused(ReasonId::MachineCopied.because(format!(
            "this disk was copied or moved: {why}. Two machines with one identity would corrupt the cluster. If the other \
             machine will never return, reinstall this machine from the image",
        )))),
    }
}

#[cfg(test)]
mod tests;
