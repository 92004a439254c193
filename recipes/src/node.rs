//! The node document: the identity of one machine. The document is signed, and each node has its
//! own document. A document with private keys is secret. If a node generated its keys itself, its
//! document contains no private keys.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Label, MachineMatch, Sha256, StoreKeys};

/// The payload type of a signed node document.
pub const NODE_TYPE: &str = "application/vnd.etcd-image.node+json";

/// The payload type of a signed [`NodeIdentity`].
pub const IDENTITY_TYPE: &str = "application/vnd.etcd-image.identity+json";

/// Where a node's private keys are generated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOrigin {
    /// The builder generates the keys, and the node document contains the keys.
    #[default]
    Document,
    /// The node generates the keys, and the keys never leave the node.
    Node,
}

impl KeyOrigin {
    /// Returns whether the builder generates the keys.
    pub fn is_document(&self) -> bool {
        *self == Self::Document
    }
}

impl From<NodeDocument> for NodeIdentity {
    fn from(node: NodeDocument) -> Self {
        Self {
            cluster: node.cluster,
            name: node.name,
            address: node.address,
            machine: node.machine,
        }
    }
}

/// The purposes of a node's keys, in the order in which a node requests certificates for them.
pub const PURPOSES: [&str; 3] = ["server", "peer", "client"];

/// Returns the fingerprint of a node's keys: the SHA-256 of their public halves
/// (`SubjectPublicKeyInfo`, DER) in the order of [`PURPOSES`]. The operator compares the
/// fingerprint that the node prints with the fingerprint that the builder shows.
pub fn key_fingerprint<T: AsRef<[u8]>>(public_keys: &[T; 3]) -> Sha256 {
    let all: Vec<&[u8]> = public_keys.iter().map(AsRef::as_ref).collect();
    Sha256::of(&all.concat())
}

/// The identity of a node, and its certificates. The document also contains the keys of the
/// certificates, unless the node generated the keys itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeDocument {
    /// The cluster that the node belongs to.
    pub cluster: Label,
    /// The node's short name, which is also the name of its etcd member.
    pub name: Label,
    /// The address that the node must have.
    pub address: Ipv4Addr,
    /// The machine that may become this node.
    #[serde(default, skip_serializing_if = "MachineMatch::is_empty")]
    pub machine: MachineMatch,
    /// The node's certificates.
    pub tls: NodeTls<DocumentCertificate>,
    /// The node's certificates from the previous CA, during a rotation. The node presents these
    /// certificates until all members trust the new CA.
    #[serde(rename = "before", default, skip_serializing_if = "Option::is_none")]
    pub previous_ca_tls: Option<NodeTls<DocumentCertificate>>,
    /// The credentials for the object store that `[backup]` names. `None` means that the node needs
    /// no credentials, or that an operator puts them on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_keys: Option<StoreKeys>,
    /// The serial of the release that was the newest when the document was issued. The node does
    /// not install an older release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
}

/// The identity of a node that has not requested certificates yet, and the facts by which its
/// machine is recognised. The document contains no secrets, and no node reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeIdentity {
    /// The cluster that the node belongs to.
    pub cluster: Label,
    /// The node's short name.
    pub name: Label,
    /// The address that the node must have.
    pub address: Ipv4Addr,
    /// The machine that may become this node.
    #[serde(default, skip_serializing_if = "MachineMatch::is_empty")]
    pub machine: MachineMatch,
}

/// A node's certificates in PEM. `P` determines whether each certificate includes its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTls<P = KeyPair> {
    /// The certificate of the CA that all members trust, or the certificates of several CAs during
    /// a rotation.
    pub ca: String,
    /// The certificate that etcd presents to clients.
    pub server: P,
    /// The certificate that etcd presents to peers. firstboot presents the same certificate in the
    /// barrier's connections.
    pub peer: P,
    /// The certificate that firstboot and etcdctl on the node present to etcd.
    pub client: P,
}

impl<P> NodeTls<P> {
    /// Returns the certificates in the order of [`PURPOSES`].
    pub fn pairs(&self) -> [&P; 3] {
        [&self.server, &self.peer, &self.client]
    }
}

impl From<NodeTls> for NodeTls<DocumentCertificate> {
    fn from(tls: NodeTls) -> Self {
        let [server, peer, client] =
            [tls.server, tls.peer, tls.client].map(|KeyPair { cert, key }| DocumentCertificate {
                cert,
                key: Some(key),
            });
        Self {
            ca: tls.ca,
            server,
            peer,
            client,
        }
    }
}

/// A certificate (as a chain, leaf first) in a node document.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentCertificate {
    /// The chain in PEM, leaf first.
    pub cert: String,
    /// The key in PEM, or `None` if the node generated the key itself and keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

// The key must not appear in a log through `{:?}`.
impl std::fmt::Debug for DocumentCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DocumentCertificate")
            .field("cert", &self.cert)
            .field("key", &self.key.as_ref().map(|_| "(secret)"))
            .finish()
    }
}

/// A certificate (as a chain, leaf first) and its private key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// The chain in PEM, leaf first.
    pub cert: String,
    /// The key in PEM, as PKCS #8 or SEC 1.
    pub key: String,
}

// The key must not appear in a log through `{:?}`.
impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair")
            .field("cert", &self.cert)
            .field("key", &"(secret)")
            .finish()
    }
}
