//! The node document: who one machine is. Secret, signed, one for each node.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Label, MachineMatch, StoreKeys};

/// The payload type of a signed node document.
pub const NODE_TYPE: &str = "application/vnd.etcd-image.node+json";

/// Who a node is, and the keys that prove it to the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeDocument {
    /// The cluster it belongs to.
    pub cluster: Label,
    /// Its short name, which is its etcd member's name too.
    pub name: Label,
    /// The address it must have.
    pub address: Ipv4Addr,
    /// The machine that may become this node.
    #[serde(default, skip_serializing_if = "MachineMatch::is_empty")]
    pub machine: MachineMatch,
    /// Its certificates.
    pub tls: NodeTls,
    /// While a CA is replaced: its certificates by the one before, which it shows until all members
    /// trust the CA of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<NodeTls>,
    /// What opens the object store of `[backup]`; none where an operator puts the keys on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_keys: Option<StoreKeys>,
    /// The serial of the newest release when the document was made: the node takes over no older
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
}

/// A node's certificates and keys, PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTls {
    /// The authority (or several, while one replaces another) that all members trust.
    pub ca: String,
    /// What etcd shows to clients.
    pub server: KeyPair,
    /// What etcd, and firstboot on etcd's peer port, shows to peers.
    pub peer: KeyPair,
    /// What firstboot and etcdctl on the node show to etcd.
    pub client: KeyPair,
}

/// A certificate (chain, leaf first) and its private key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// PEM, leaf first.
    pub cert: String,
    /// PEM, PKCS #8 or SEC 1.
    pub key: String,
}

// The key must not reach a log through a `{:?}`.
impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair")
            .field("cert", &self.cert)
            .field("key", &"(secret)")
            .finish()
    }
}
