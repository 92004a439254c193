//! The files of one node: the signed document (`node.json`), the same document as NoCloud's
//! `user-data`, NoCloud's `meta-data`, and, for virtual machines, a disk image that contains these
//! two NoCloud files. All these files are secret if the document contains the node's keys. A node
//! that generates its keys itself and is not enrolled yet has only `identity.json`.

mod seed;

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use recipes::node::{IDENTITY_TYPE, KeyOrigin, NODE_TYPE};
use recipes::{NodeDocument, NodeIdentity, Recipe, Sha256, SigningKey, StoreKeys};
use serde::Serialize;

use crate::newfile;
use crate::pki::{Pki, PkiError, Subject};

/// The reason why a node's files cannot be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodesError {
    /// The operating system refused an operation.
    #[error("{path}: cannot {doing}: {source}", path = path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The seed image could not be created.
    #[error("cannot create the seed image of `{node}`: {source}")]
    Seed { node: String, source: io::Error },
    /// A document could not be written as JSON.
    #[error("cannot write the document of `{node}` as JSON: {source}")]
    Json {
        node: String,
        source: serde_json::Error,
    },
}

/// The file of a node that is not enrolled yet. `builder serve` reads this file.
pub(crate) const IDENTITY: &str = "identity.json";

/// A node in a build, with or without certificates.
#[derive(Debug)]
pub(crate) enum Node {
    /// The node has certificates.
    Enrolled(Box<NodeDocument>),
    /// The node generates its keys itself, and none of its requests has been signed yet.
    Awaited(NodeIdentity),
}

/// Issues a node's document, or only the node's identity if the node has no certificates yet.
pub(crate) fn issue(
    recipe: &Recipe,
    pki: &mut Pki,
    node: &recipes::recipe::Node,
) -> Result<Node, PkiError> {
    let subject = Subject {
        cluster: &recipe.cluster.name,
        domain: &recipe.cluster.domain,
        name: &node.name,
        address: node.address,
    };
    let identity = NodeIdentity {
        cluster: recipe.cluster.name.clone(),
        name: node.name.clone(),
        address: node.address,
        machine: node.machine.clone(),
    };
    // If a node generates its keys itself, its document contains no private key, and need not be
    // kept secret. Such a document must therefore not contain the object store's credentials.
    let store_keys = match recipe.tls.keys {
        KeyOrigin::Document => pki.store_keys()?,
        KeyOrigin::Node => None,
    };
    let contents = contents_digest(&identity, store_keys.as_ref());
    let issued = pki.issue_for(&node.name, contents, |pki| match recipe.tls.keys {
        KeyOrigin::Document => {
            let (tls, previous_ca_tls) = pki.node_tls(&subject)?;
            Ok(Some((tls.into(), previous_ca_tls.map(Into::into))))
        }
        KeyOrigin::Node => pki.certificates(&subject),
    })?;
    let Some((tls, previous_ca_tls)) = issued else {
        return Ok(Node::Awaited(identity));
    };
    Ok(Node::Enrolled(Box::new(NodeDocument {
        cluster: identity.cluster,
        name: identity.name,
        address: identity.address,
        machine: identity.machine,
        tls,
        previous_ca_tls,
        store_keys,
        release: None,
    })))
}

/// Returns the digest of the parts of a node's document other than the certificates, the CAs and the
/// serial of the image.
fn contents_digest(identity: &NodeIdentity, store_keys: Option<&StoreKeys>) -> Sha256 {
    let parts = serde_json::json!({ "identity": identity, "store-keys": store_keys });
    Sha256::of(parts.to_string().as_bytes())
}

/// NoCloud's `meta-data`, written as JSON. NoCloud reads the file as YAML, a superset of JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct MetaData<'a> {
    instance_id: String,
    local_hostname: &'a str,
}

/// Returns a node's files, by name. The same document and key produce the same bytes.
///
/// The instance-id contains a part of the document's digest. A NoCloud reader assumes that nothing
/// has changed if it has seen the instance-id before, so the instance-id must change with the
/// document.
pub(crate) fn documents(
    document: &NodeDocument,
    key: &SigningKey,
) -> Result<Vec<(&'static str, Vec<u8>)>, NodesError> {
    let node = document.name.as_str();
    let json = |source| NodesError::Json {
        node: node.to_owned(),
        source,
    };
    let payload = serde_json::to_vec(document).map_err(json)?;
    let envelope = lines(&key.sign(NODE_TYPE, &payload)).map_err(json)?;
    files_of_signed(document, &payload, envelope)
}

/// Returns the files of a node whose document is already signed. `envelope` is the text of the
/// envelope around `payload`. All other files are derived from the envelope, so `builder verify`
/// can recompute their contents.
pub(crate) fn files_of_signed(
    document: &NodeDocument,
    payload: &[u8],
    envelope: Vec<u8>,
) -> Result<Vec<(&'static str, Vec<u8>)>, NodesError> {
    let node = document.name.as_str();
    let json = |source| NodesError::Json {
        node: node.to_owned(),
        source,
    };
    let digest = Sha256::of(payload).to_string();
    let meta = MetaData {
        instance_id: format!("{}-{node}-{}", document.cluster, &digest[..12]),
        local_hostname: node,
    };
    let meta = lines(&meta).map_err(json)?;
    let seed =
        seed::image(&[("meta-data", &meta), ("user-data", &envelope)]).map_err(|source| {
            NodesError::Seed {
                node: node.to_owned(),
                source,
            }
        })?;
    Ok(vec![
        ("node.json", envelope.clone()),
        ("meta-data", meta),
        ("user-data", envelope),
        ("seed.img", seed),
    ])
}

fn sign(identity: &NodeIdentity, key: &SigningKey) -> Result<Vec<u8>, NodesError> {
    let envelope =
        serde_json::to_vec(identity).and_then(|payload| lines(&key.sign(IDENTITY_TYPE, &payload)));
    envelope.map_err(|source| NodesError::Json {
        node: identity.name.to_string(),
        source,
    })
}

fn lines<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a node's files into `nodes/NAME` in the output. The folder has mode 0700, and the files
/// have mode 0600 from the start, under any umask. The files must not exist yet. The commit of the
/// output syncs the files.
pub(crate) fn write(output: &Path, node: &Node, key: &SigningKey) -> Result<(), NodesError> {
    let (name, files) = match node {
        Node::Enrolled(document) => (&document.name, documents(document, key)?),
        Node::Awaited(identity) => (&identity.name, vec![(IDENTITY, sign(identity, key)?)]),
    };
    let nodes = output.join("nodes");
    let folder = nodes.join(name.as_str());
    for path in [&nodes, &folder] {
        make_folder(path).map_err(|source| NodesError::Io {
            doing: "create it",
            path: path.clone(),
            source,
        })?;
    }
    for (name, bytes) in files {
        let path = folder.join(name);
        newfile::write(&path, &bytes, newfile::SECRET).map_err(|source| NodesError::Io {
            doing: "write it",
            path,
            source,
        })?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::set_permissions(path, Permissions::from_mode(0o700)),
    }
}

#[cfg(test)]
pub(crate) mod tests;
