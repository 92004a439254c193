//! Who this node is: the one place where a document becomes believed.

use anyhow::{Context as _, Result};
use recipes::node::{NODE_TYPE, NodeTls};
use recipes::{ClusterDocument, Envelope, NodeDocument, PublicKey};

use crate::exit::refused;
use crate::machine::Machine;
use crate::metadata::Found;
use crate::{certificates, files, paths};

/// A node that may exist: the document is signed by whom the image trusts, is for this machine and this cluster.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The document.
    pub(crate) node: NodeDocument,
    /// As it came, to be kept for the next boot.
    pub(crate) envelope: Envelope,
    /// Where from, for messages.
    pub(crate) place: String,
    /// The cluster in the image.
    pub(crate) cluster: ClusterDocument,
    /// The certificates it lives by: the document's, as far as none of them is held back (`rotation`).
    pub(crate) tls: NodeTls,
}

impl Identity {
    /// The node's full name.
    pub(crate) fn fqdn(&self) -> String {
        self.cluster.fqdn(&self.node.name)
    }
}

/// The cluster that the image was built for.
pub(crate) fn cluster() -> Result<ClusterDocument> {
    serde_json::from_slice(&files::read(paths::CLUSTER)?)
        .with_context(|| format!("{} is not a cluster document; this image is broken", paths::CLUSTER))
}

/// The key that the image trusts.
pub(crate) fn trusted() -> Result<PublicKey> {
    let text = String::from_utf8_lossy(&files::read(paths::TRUST)?).into_owned();
    text.parse().with_context(|| format!("{} holds no key; this image is broken", paths::TRUST))
}

/// Believes a document, or says why not.
pub(crate) fn verify(found: Found, key: &PublicKey, cluster: ClusterDocument, machine: &Machine) -> Result<Identity> {
    let Found { place, envelope } = found;
    let remedy = "Give this machine its own nodes/NAME/ of the build that made this image";
    let no = |why: String| refused(format!("the node document from {place} is refused: {why}. {remedy}"));

    let payload = envelope.open(NODE_TYPE, key).map_err(|error| no(error.to_string()))?;
    let node: NodeDocument =
        serde_json::from_slice(&payload).map_err(|error| no(format!("it cannot be read: {error}")))?;
    if node.cluster != cluster.name {
        return Err(no(format!("it is for the cluster {}, and this image is for {}", node.cluster, cluster.name)));
    }
    let Some(member) = cluster.member(&node.name) else {
        let names: Vec<&str> = cluster.members.iter().map(|member| member.name.as_str()).collect();
        return Err(no(format!("it is for {}, and this image knows {}", node.name, names.join(", "))));
    };
    if member.address != node.address {
        let (name, here, there) = (&node.name, member.address, node.address);
        return Err(no(format!("it gives {name} the address {there}, and this image gives it {here}")));
    }
    if let Some(why) = machine.differs_from(&node.machine) {
        return Err(no(why));
    }
    let tls = node.tls.clone();
    Ok(Identity { node, envelope, place, cluster, tls })
}

/// Refuses a document that is older than the one this node lives by: what was replaced was so for a reason, and whoever
/// has it may not be who should. The builder issues a certificate again for each change of keys or names, and a document
/// has no other date.
pub(crate) fn check_age(identity: &Identity) -> Result<()> {
    let Some(bytes) = files::read_if_there(paths::ACCEPTED)? else { return Ok(()) };
    // What this image does not trust, or cannot read, makes no other document old.
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&bytes) else { return Ok(()) };
    let Ok(payload) = envelope.open(NODE_TYPE, &trusted()?) else { return Ok(()) };
    let Ok(accepted) = serde_json::from_slice::<NodeDocument>(&payload) else { return Ok(()) };
    not_older(identity, &accepted)
}

fn not_older(identity: &Identity, accepted: &NodeDocument) -> Result<()> {
    let (Ok(new), Ok(old)) = (certificates::issued(&identity.node.tls), certificates::issued(&accepted.tls)) else {
        return Ok(());
    };
    if new >= old {
        return Ok(());
    }
    Err(refused(format!(
        "the node document from {} is older than the one that this node lives by: its newest certificate is valid from \
         {} on, the other's from {}. Put nodes/{}/ of the newest build there, or take the old one away: the node keeps a \
         copy of the newer. To return to the old one all the same, remove {}",
        identity.place,
        certificates::date(new),
        certificates::date(old),
        identity.node.name,
        paths::ACCEPTED
    )))
}

/// Refuses a disk that was set up on another machine.
pub(crate) fn check_clone(machine: &Machine, before: Option<&Machine>) -> Result<()> {
    match before.and_then(|before| machine.cloned_from(before)) {
        None => Ok(()),
        Some(why) => Err(refused(format!(
            "this disk is a copy, or was moved: {why}. Two machines with one identity would corrupt the cluster. \
             If the other machine is gone for good, install this one again from the image",
        ))),
    }
}

#[cfg(test)]
mod tests;
