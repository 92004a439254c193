//! The node document: the identity of one machine. It is secret and signed, and each node has its
//! own.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Label, MachineMatch, StoreKeys};

/// The payload type of a signed node document.
pub const NODE_TYPE: &str = "application/vnd.etcd-image.node+json";

/// The identity of a node, and the keys with which it proves that identity to the others.
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
    /// Its certificates.
    pub tls: NodeTls,
    /// While a CA is being replaced: the node's certificates from the previous CA, which it
    /// presents until all members trust the new CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<NodeTls>,
    /// The credentials for the object store of `[backup]`; `None` if an operator puts the keys on
    /// the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_keys: Option<StoreKeys>,
    /// The serial of the release that was the newest when the document was made: the node does not
    /// install an older one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
}

/// A node's certificates and keys, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTls {
    /// The authority that all members trust; several authorities while one replaces another.
    pub ca: String,
    /// The certificate that etcd presents to clients.
    pub server: KeyPair,
    /// The certificate that etcd, and firstboot on etcd's peer port, present to peers.
    pub peer: KeyPair,
    /// The certificate that firstboot and etcdctl on the node present to etcd.
    pub client: KeyPair,
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

// The key must not get into a log through a `{:?}`.
impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair")
            .field("cert", &self.cert)
            .field("key", &"(secret)")
            .finish()
    }
}
