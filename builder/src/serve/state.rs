//! The state of the server: the output, the record of the cluster, and the command-line options.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use recipes::{Envelope, Label, NodeDocument, NodeIdentity, Sha256};

use super::board::Board;
use super::client_link::{ClientLink, find};
use super::client_request::ClientRequest;
use super::files;
use super::log::{Line, Log};
use super::power::Power;
use super::record::{DocumentDelivery, Record};
use super::refusal::{Refusal, RefusalId};
use super::tree::InstallTree;
use crate::nodes;
use crate::sign::CertificateAuthority;

/// The maximum size of a node document.
const MAX_DOCUMENT_BYTES: u64 = 1 << 20;

/// The state on which all answers depend.
#[derive(Debug)]
pub(super) struct ServerState {
    /// The folder of the output, which a new build may replace at any time.
    pub(super) out: PathBuf,
    /// The folder of records.
    pub(super) record_dir: PathBuf,
    /// How long after the first download a document may be downloaded again.
    pub(super) open: Duration,
    /// How many times an unfinished installation is repeated.
    pub(super) retries: u32,
    /// Whether a node may ask to be installed again.
    pub(super) reinstall: bool,
    /// The tree from which machines are installed.
    pub(super) tree: Option<InstallTree>,
    /// The folder of the network boot loaders.
    pub(super) loaders: Option<PathBuf>,
    /// The folder of the mirror, which contains etcd, the tree and the repositories.
    pub(super) mirror: Option<PathBuf>,
    /// Additional words for the installer's kernel.
    pub(super) append: String,
    /// The URL scheme: `http` or `https`.
    pub(super) scheme: &'static str,
    /// The authority that signs the requests of nodes that generate their keys themselves.
    pub(super) ca: Option<CertificateAuthority>,
    pub(super) log: Log,
    pub(super) board: Board,
    /// The command that switches machines.
    pub(super) power: Option<Power>,
    /// Changes that could not be recorded. The pair for a node is the record before the change and
    /// the intended record.
    pub(super) unsaved: Mutex<BTreeMap<Label, (Option<DocumentDelivery>, DocumentDelivery)>>,
}

/// The nodes of an output, and the record of their cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The nodes, sorted by name.
    pub(crate) nodes: Vec<NodeIdentity>,
    /// The digest of each node's document. A node that is not enrolled yet has no document.
    digests: BTreeMap<Label, Sha256>,
    /// The server's record of the nodes.
    pub(crate) record: Record,
}

impl Cluster {
    /// Reads the cluster of an output.
    pub(crate) fn read(out: &Path, state: &Path) -> Result<Self> {
        let all = all_nodes(out)?;
        let digests = all.iter();
        let digests = digests.filter_map(|(node, digest)| Some((node.name.clone(), (*digest)?)));
        let digests = digests.collect();
        let nodes: Vec<_> = all.into_iter().map(|(node, _)| node).collect();
        let first = nodes
            .first()
            .with_context(|| format!("{} contains no nodes", out.join("nodes").display()))?;
        let record = Record::new(state, &first.cluster);
        Ok(Self {
            nodes,
            digests,
            record,
        })
    }

    /// Returns the digest of a node's document.
    pub(super) fn digest(&self, node: &NodeIdentity) -> Option<Sha256> {
        self.digests.get(&node.name).copied()
    }

    /// Records the documents of this output. A machine that has one of these documents can later
    /// prove its identity with that document, even if another server handed it out. The caller
    /// holds the record's lock.
    pub(super) fn note_served(&self) -> Result<()> {
        self.digests
            .iter()
            .try_for_each(|(node, digest)| self.record.note_served(node, *digest))
    }

    /// Returns the node with that name.
    pub(crate) fn node(&self, name: &str) -> Option<&NodeIdentity> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }
}

fn all_nodes(out: &Path) -> Result<Vec<(NodeIdentity, Option<Sha256>)>> {
    let folder = out.join("nodes");
    let names = || {
        fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()
    };
    let mut nodes = Vec::new();
    for name in names().with_context(|| format!("cannot list {}", folder.display()))? {
        let name = name.to_string_lossy();
        let node = node(out, &name);
        nodes.push(
            node.with_context(|| format!("{}/{name} is not a node's folder", folder.display()))?,
        );
    }
    nodes.sort_by(|(one, _): &(NodeIdentity, _), (other, _)| one.name.cmp(&other.name));
    Ok(nodes)
}

/// Reads the node of a folder in the output, with the digest of its document. This function does
/// not check the signature. The node checks the signature, because its image determines which key
/// to trust.
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
    let text =
        read(out, name, nodes::IDENTITY)?.context("it has neither node.json nor identity.json")?;
    Ok((serde_json::from_slice(&envelope(&text)?)?, None))
}

/// Reads the text of a node's document. Returns `None` if the node is not enrolled yet.
pub(super) fn document(out: &Path, name: &str) -> Result<Option<String>> {
    read(out, name, "node.json")
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

impl ServerState {
    /// Returns whether there is a tree from which machines are installed.
    pub(super) fn installs(&self) -> bool {
        self.tree.is_some() || self.mirror.is_some()
    }

    pub(super) fn cluster(&self) -> Result<Cluster> {
        Cluster::read(&self.out, &self.record_dir)
    }

    /// Returns the delivery of a node's document, including deliveries that could not be recorded.
    pub(super) fn delivery(
        &self,
        record: &Record,
        node: &Label,
    ) -> Result<Option<DocumentDelivery>> {
        let recorded = record.delivery(node)?;
        let unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match unsaved.get(node) {
            Some((before, after)) if *before == recorded => Some(after.clone()),
            _ => recorded,
        })
    }

    /// Records the delivery of a node's document. If the disk is full, this process remembers the
    /// delivery, because a full disk must not be a reason to refuse a machine, and the document
    /// goes only to its own machine.
    pub(super) fn put_delivery(&self, record: &Record, node: &Label, delivery: &DocumentDelivery) {
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        match record.put_delivery(node, delivery) {
            Ok(()) => drop(unsaved.remove(node)),
            Err(error) => {
                self.log.error(&error.context(
                    "a document was handed out, but the server can remember the delivery only \
                     until it exits",
                ));
                let before = record.delivery(node).unwrap_or_default();
                unsaved.insert(node.clone(), (before, delivery.clone()));
            }
        }
    }

    /// Returns this server's URL, with the host that the client named, or with the server's address
    /// if the client did not name a host.
    pub(super) fn own_url(&self, request: &ClientRequest) -> String {
        let host =
            request
                .host
                .clone()
                .unwrap_or_else(|| match request.local.ip().to_canonical() {
                    IpAddr::V6(address) => format!("[{address}]:{}", request.local.port()),
                    IpAddr::V4(address) => format!("{address}:{}", request.local.port()),
                });
        format!("{}://{host}/", self.scheme)
    }

    /// Logs a delivery to a node, or a report from it.
    pub(super) fn log_event(
        &self,
        request: &ClientRequest,
        node: Option<&Label>,
        what: impl Into<String>,
    ) {
        self.log_line(request, node, None, what.into());
    }

    /// Logs a refusal.
    pub(super) fn log_refusal(&self, request: &ClientRequest, refusal: &Refusal) {
        self.log_line(
            request,
            None,
            Some(refusal.id),
            format!("refused: {}", refusal.why),
        );
    }

    fn log_line(
        &self,
        request: &ClientRequest,
        node: Option<&Label>,
        refused: Option<RefusalId>,
        what: String,
    ) {
        let node = node.map(ToString::to_string);
        self.log.add(Line {
            time: SystemTime::now(),
            from: Some(request.from),
            card: request.card(),
            node,
            refused,
            what,
        });
    }
}

/// Lists the information that an operator needs before the first request: how the server identifies
/// each node, and what would prevent the identification.
pub(super) fn startup_notes(
    cluster: &Cluster,
    listening: &[std::net::SocketAddr],
    installs: bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    for node in &cluster.nodes {
        lines.push(format!(
            "{} {}: {}",
            node.name,
            node.address,
            how_recognised(node)
        ));
    }
    if listening.iter().all(|address| address.ip().is_loopback()) {
        lines.push(
            "warning: only this host can connect. A proxy in front of the server would hide which \
             machine asks, so no machine receives a document"
                .to_owned(),
        );
    } else if in_container() {
        lines.push(
            "warning: the server runs in a container. Unless the container uses the host's \
             network, every request comes from the container's gateway, and no machine receives a \
             document"
                .to_owned(),
        );
    }
    if !cluster.record.is_complete() {
        lines.push(format!(
            "warning: {} is not the record that the cluster's first build created. A machine that is \
             not in the record receives no document. Name the right folder with --state, or allow the machines \
             with `builder allow --document`",
            cluster.record.folder().display()
        ));
    }
    let new = |node: &&NodeIdentity| matches!(cluster.record.installation(&node.name), Ok(None));
    let new: Vec<&str> = cluster
        .nodes
        .iter()
        .filter(new)
        .map(|node| node.name.as_str())
        .collect();
    if installs && !new.is_empty() {
        lines.push(format!(
            "not installed until `builder allow --all --install`, which erases their disks: {}",
            new.join(", ")
        ));
    }
    lines
}

fn how_recognised(node: &NodeIdentity) -> String {
    let address = "only by its address";
    // The address that the node will connect to is not known yet, so the check uses the source
    // address that the kernel would choose.
    match (find(Ipv4Addr::UNSPECIFIED, node.address), node.machine.mac) {
        (Ok(ClientLink::Local), _) => {
            "warning: this is the host's own address, so the node receives no document".to_owned()
        }
        (Ok(ClientLink::Neighbour(_) | ClientLink::NoNeighbour), Some(mac)) => {
            format!("in this host's network, identified by its MAC address {mac}")
        }
        (Ok(ClientLink::Neighbour(_) | ClientLink::NoNeighbour), None) => {
            format!("in this host's network, identified {address}: a `mac` in the recipe is safer")
        }
        (Ok(ClientLink::Routed), _) => format!("behind a router, identified {address}"),
        (Err(error), _) => format!("warning: this host has no route to the node ({error})"),
    }
}

/// Returns whether this process runs in a container, according to the files that Docker and Podman
/// create.
fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| Path::new(mark).exists())
}
