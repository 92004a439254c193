//! The nodes of the output that the server serves, and the record of their cluster. A new build may
//! replace the output at any time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use recipes::{Envelope, Label, NodeDocument, NodeIdentity, Sha256};

use super::files;
use super::record::Record;
use crate::nodes;
use crate::text_file::{Fingerprint, fingerprint};

/// The maximum size of a node document.
const MAX_DOCUMENT_BYTES: u64 = 1 << 20;
const DOCUMENT: &str = "node.json";

/// The nodes of an output, and the record of their cluster.
#[derive(Debug)]
pub(crate) struct ServedCluster {
    /// The nodes, sorted by name.
    pub(crate) nodes: Arc<[NodeIdentity]>,
    /// The digest of each node's document. A node that is not enrolled yet has no document.
    digests: Arc<BTreeMap<Label, Sha256>>,
    /// Whether the record contains the digests of the documents.
    is_noted: Arc<AtomicBool>,
    /// The server's record of the nodes.
    pub(crate) record: Record,
}

/// The nodes as they were last read from the output. Without this cache, the server would read the
/// documents of all nodes for each request.
#[derive(Debug, Default)]
pub(super) struct NodeCache(Mutex<Option<(FileFingerprints, NodeList)>>);

/// The names of the nodes' folders, and the fingerprints of the files that identify the nodes.
type FileFingerprints = Vec<(OsString, Option<Fingerprint>)>;

#[derive(Debug, Clone)]
struct NodeList {
    nodes: Arc<[NodeIdentity]>,
    digests: Arc<BTreeMap<Label, Sha256>>,
    is_noted: Arc<AtomicBool>,
}

impl ServedCluster {
    /// Reads the cluster of an output.
    pub(crate) fn read(out: &Path, state: &Path) -> Result<Self> {
        Self::new(NodeList::read(out)?, out, state)
    }

    /// Returns the cluster of an output. Reads the nodes only if the nodes' files have changed.
    pub(super) fn cached(out: &Path, state: &Path, cache: &NodeCache) -> Result<Self> {
        // The fingerprints are taken before the files are read, so that the next call detects a
        // file that changes while this call reads the files.
        let fingerprints = fingerprints(out)?;
        let mut kept = cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match &*kept {
            Some((before, nodes)) if *before == fingerprints => nodes.clone(),
            _ => {
                let nodes = NodeList::read(out)?;
                *kept = Some((fingerprints, nodes.clone()));
                nodes
            }
        };
        drop(kept);
        Self::new(found, out, state)
    }

    fn new(found: NodeList, out: &Path, state: &Path) -> Result<Self> {
        let NodeList {
            nodes,
            digests,
            is_noted,
        } = found;
        let first = nodes
            .first()
            .with_context(|| format!("{} contains no nodes", out.join("nodes").display()))?;
        let record = Record::new(state, &first.cluster);
        Ok(Self {
            nodes,
            digests,
            is_noted,
            record,
        })
    }

    /// Returns the digest of a node's document.
    pub(super) fn digest(&self, node: &NodeIdentity) -> Option<Sha256> {
        self.digests.get(&node.name).copied()
    }

    /// Records the documents of this output. A machine that has one of these documents can later
    /// prove its identity with the document, even if another server handed out the document. The
    /// caller holds the record's lock.
    pub(super) fn note_served(&self) -> Result<()> {
        if self.is_noted.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.digests
            .iter()
            .try_for_each(|(node, digest)| self.record.note_served(node, *digest))?;
        self.is_noted.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn node(&self, name: &str) -> Option<&NodeIdentity> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }
}

impl NodeList {
    fn read(out: &Path) -> Result<Self> {
        let (mut nodes, mut digests) = (Vec::new(), BTreeMap::new());
        for name in names(out)? {
            let name = name.to_string_lossy();
            let folder = out.join("nodes");
            let (node, digest) = node(out, &name)
                .with_context(|| format!("{}/{name} is not a node's folder", folder.display()))?;
            digests.extend(digest.map(|digest| (node.name.clone(), digest)));
            nodes.push(node);
        }
        nodes.sort_by(|one: &NodeIdentity, other| one.name.cmp(&other.name));
        Ok(Self {
            nodes: nodes.into(),
            digests: Arc::new(digests),
            is_noted: Arc::default(),
        })
    }
}

/// Returns the names of the nodes' folders.
fn names(out: &Path) -> Result<Vec<OsString>> {
    let folder = out.join("nodes");
    let list = || {
        fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()
    };
    let mut names = list().with_context(|| format!("cannot list {}", folder.display()))?;
    names.sort();
    Ok(names)
}

fn fingerprints(out: &Path) -> Result<FileFingerprints> {
    let of = |name: OsString| {
        let folder = out.join("nodes").join(&name);
        let files = [DOCUMENT, nodes::IDENTITY];
        let found = files
            .iter()
            .find_map(|file| fingerprint(&folder.join(file)).ok());
        (name, found)
    };
    Ok(names(out)?.into_iter().map(of).collect())
}

/// Reads a node from its folder in the output, and computes the digest of the node's document. This
/// function does not check the signature. The node itself checks the signature, because the node's
/// image determines which key the node trusts.
fn node(out: &Path, name: &str) -> Result<(NodeIdentity, Option<Sha256>)> {
    let envelope = |text: &str| -> Result<Vec<u8>> {
        let envelope: Envelope = serde_json::from_str(text)?;
        Ok(envelope.unverified()?)
    };
    if let Some(text) = document(out, name)? {
        let payload = envelope(&text)?;
        let document: NodeDocument = serde_json::from_slice(&payload)?;
        return Ok((document.into(), Some(Sha256::of(&payload))));
    }
    let text = read(out, name, nodes::IDENTITY)?
        .context("the node's folder has neither node.json nor identity.json")?;
    Ok((serde_json::from_slice(&envelope(&text)?)?, None))
}

/// Reads the text of a node's document. Returns `None` if the node is not enrolled yet.
pub(super) fn document(out: &Path, name: &str) -> Result<Option<String>> {
    read(out, name, DOCUMENT)
}

fn read(out: &Path, name: &str, file: &str) -> Result<Option<String>> {
    let parts = ["nodes", name, file].map(str::to_owned);
    let read = || -> io::Result<Option<String>> {
        let Some(file) = files::open(out, &parts)? else {
            return Ok(None);
        };
        let mut text = String::new();
        file.take(MAX_DOCUMENT_BYTES).read_to_string(&mut text)?;
        Ok(Some(text))
    };
    read().with_context(|| format!("cannot read {}", out.join(parts.join("/")).display()))
}

/// Writes the identity of a node into an output.
#[cfg(test)]
pub(super) fn write_identity(out: &Path, name: &str, last: u8) {
    let identity = NodeIdentity {
        cluster: "demo".parse().unwrap(),
        name: name.parse().unwrap(),
        address: [10, 0, 0, last].into(),
        machine: recipes::MachineMatch::default(),
    };
    let payload = serde_json::to_vec(&identity).unwrap();
    let generated = recipes::SigningKey::generate().unwrap();
    let key = recipes::SigningKey::from_pkcs8(&generated).unwrap();
    let envelope = key.sign("identity", &payload);
    let folder = out.join("nodes").join(name);
    fs::create_dir_all(&folder).unwrap();
    let next = folder.join("next");
    fs::write(&next, serde_json::to_vec(&envelope).unwrap()).unwrap();
    fs::rename(next, folder.join(nodes::IDENTITY)).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_are_read_again_only_after_a_change() {
        let root = tempfile::tempdir().unwrap();
        let (out, state, cache) = (root.path(), root.path().join("state"), NodeCache::default());
        let read = || ServedCluster::cached(out, &state, &cache).unwrap().nodes;
        let addresses = |nodes: &[NodeIdentity]| -> Vec<u8> {
            let nodes = nodes.iter();
            nodes.map(|node| node.address.octets()[3]).collect()
        };
        write_identity(out, "etcd-1", 1);
        let first = read();
        assert_eq!(addresses(&first), [1]);
        assert!(Arc::ptr_eq(&first, &read()), "the files are read again");
        write_identity(out, "etcd-1", 2);
        assert_eq!(addresses(&read()), [2]);
        write_identity(out, "etcd-2", 7);
        assert_eq!(addresses(&read()), [2, 7]);
        fs::remove_dir_all(out.join("nodes/etcd-1")).unwrap();
        assert_eq!(addresses(&read()), [7]);
        fs::write(out.join("nodes/etcd-2").join(nodes::IDENTITY), "{}").unwrap();
        assert!(ServedCluster::cached(out, &state, &cache).is_err());
    }
}
