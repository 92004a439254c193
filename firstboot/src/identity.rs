//! Verifies the node document. This is the only place where firstboot accepts one.

use anyhow::{Context as _, Result};
use recipes::node::{NODE_TYPE, NodeTls};
use recipes::{ClusterDocument, Envelope, NodeDocument, PublicKey};

use crate::exit::refused;
use crate::machine::Machine;
use crate::metadata::Found;
use crate::reason::ReasonId;
use crate::{certificates, files, paths};

/// A verified identity: the image trusts the document's signature, and the document was issued for
/// this machine and this cluster.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The document.
    pub(crate) node: NodeDocument,
    /// The signed document as it was received. It is stored for the next boot.
    pub(crate) envelope: Envelope,
    /// The source of the document, for use in messages.
    pub(crate) place: String,
    /// The cluster document in the image.
    pub(crate) cluster: ClusterDocument,
    /// The certificates in use. They are the document's certificates, unless `rotation` defers
    /// those.
    pub(crate) tls: NodeTls,
}

impl Identity {
    /// Returns the node's full name.
    pub(crate) fn fqdn(&self) -> String {
        self.cluster.fqdn(&self.node.name)
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

/// Returns the key that the image trusts.
pub(crate) fn trusted() -> Result<PublicKey> {
    let text = String::from_utf8_lossy(&files::read(paths::TRUST)?).into_owned();
    text.parse().with_context(|| {
        format!(
            "{} is not a public key. The image is broken: build it again",
            paths::TRUST
        )
    })
}

/// Verifies a document.
///
/// # Errors
/// Refused if the signature, the cluster, the node or the machine does not match.
pub(crate) fn verify(
    found: Found,
    key: &PublicKey,
    cluster: ClusterDocument,
    machine: &Machine,
) -> Result<Identity> {
    let Found { place, envelope } = found;
    let remedy = "Give this machine its own nodes/NAME/ from the build that made this image";
    let no = |why: String| {
        let text = format!("the node document from {place} cannot be used: {why}. {remedy}");
        refused(ReasonId::DocumentRefused.because(text))
    };

    let payload = envelope
        .open(NODE_TYPE, key)
        .map_err(|error| no(error.to_string()))?;
    let node: NodeDocument = serde_json::from_slice(&payload)
        .map_err(|error| no(format!("it cannot be read: {error}")))?;
    if node.cluster != cluster.name {
        return Err(no(format!(
            "it is for the cluster {}, and this image is for {}",
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
            "it is for {}, and the members in this image are {}",
            node.name,
            names.join(", ")
        )));
    };
    if member.address != node.address {
        let (name, here, there) = (&node.name, member.address, node.address);
        return Err(no(format!(
            "it gives {name} the address {there}, and this image gives it {here}"
        )));
    }
    if let Some(why) = machine.differs_from(&node.machine) {
        return Err(no(why));
    }
    let tls = node.tls.clone();
    Ok(Identity {
        node,
        envelope,
        place,
        cluster,
        tls,
    })
}

/// Refuses a document that is older than the one accepted before: the old document may have been
/// replaced because it leaked. A document has the date of its newest certificate, because the
/// builder issues certificates again for each change of keys or names.
pub(crate) fn check_age(identity: &Identity) -> Result<()> {
    let Some(bytes) = files::read_if_there(paths::ACCEPTED)? else {
        return Ok(());
    };
    // If this image cannot read the stored document or does not trust it, the two are not compared.
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&bytes) else {
        return Ok(());
    };
    let Ok(payload) = envelope.open(NODE_TYPE, &trusted()?) else {
        return Ok(());
    };
    let Ok(accepted) = serde_json::from_slice::<NodeDocument>(&payload) else {
        return Ok(());
    };
    not_older(identity, &accepted)
}

fn not_older(identity: &Identity, accepted: &NodeDocument) -> Result<()> {
    let (Ok(new), Ok(old)) = (
        certificates::issued(&identity.node.tls),
        certificates::issued(&accepted.tls),
    ) else {
        return Ok(());
    };
    if new >= old {
        return Ok(());
    }
    Err(refused(ReasonId::DocumentOutdated.because(format!(
        "the node document from {} is older than the accepted one: its newest certificate is valid from {}, that of the \
         accepted one from {}. Replace it by nodes/{}/ of the newest build, or remove it, so that the node uses its stored \
         copy. To accept the older document, delete {}",
        identity.place,
        certificates::date(new),
        certificates::date(old),
        identity.node.name,
        paths::ACCEPTED
    ))))
}

/// Refuses a disk that was set up on a different machine.
pub(crate) fn check_clone(machine: &Machine, before: Option<&Machine>) -> Result<()> {
    match before.and_then(|before| machine.cloned_from(before)) {
        None => Ok(()),
        Some(why) => Err(refused(ReasonId::MachineCopied.because(format!(
            "this disk was copied or moved: {why}. Two machines with one identity would corrupt the cluster. If the other \
             machine is gone for good, reinstall this one from the image",
        )))),
    }
}

#[cfg(test)]
mod tests;
