//! The state of the server: the output, the record of the cluster, and the command-line options.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use recipes::{Label, NodeIdentity};

use super::board::Board;
use super::boot::Loader;
use super::client_link::{ClientLink, find};
use super::client_request::ClientRequest;
use super::cluster::{NodeCache, ServedCluster};
use super::deliveries::Deliveries;
use super::log::{Line, LineKind, Log};
use super::pki_warnings::PkiWarnings;
use super::power::Power;
use super::record::{DocumentDelivery, Installation, NextBoot, Record};
use super::refusal::{Refusal, RefusalId};
use super::tree::InstallTree;
use super::unsaved_records::UnsavedRecords;
use crate::sign::CertificateAuthority;

/// The state on which all answers depend.
#[derive(Debug)]
pub(super) struct ServerState {
    /// The folder of the output, which a new build may replace at any time.
    pub(super) out: PathBuf,
    /// The nodes of the output.
    pub(super) nodes: NodeCache,
    /// The folder of records.
    pub(super) record_dir: PathBuf,
    /// The time for which a document may be downloaded again after its first download.
    pub(super) document_window: Duration,
    /// The number of times that an unfinished installation is repeated.
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
    /// The command that switches machines on and off.
    pub(super) power: Option<Power>,
    /// The deliveries of documents.
    pub(super) deliveries: Deliveries,
    /// The installations whose changes could not be recorded.
    pub(super) unsaved_installations: UnsavedRecords<Installation>,
    /// The warnings about the PKI that were logged.
    pub(super) pki_warnings: PkiWarnings,
}

impl ServerState {
    /// Returns whether there is a tree from which machines are installed.
    pub(super) fn installs(&self) -> bool {
        self.tree.is_some() || self.mirror.is_some()
    }

    pub(super) fn cluster(&self) -> Result<ServedCluster> {
        ServedCluster::cached(&self.out, &self.record_dir, &self.nodes)
    }

    /// Returns the last delivery of a node's document, even if the delivery could not be recorded.
    pub(super) fn delivery(
        &self,
        record: &Record,
        node: &Label,
    ) -> Result<Option<DocumentDelivery>> {
        self.deliveries.last(record, node)
    }

    /// Changes the record of the delivery of a node's document. If the record cannot be written,
    /// this process remembers the delivery, because a full disk must not be a reason to refuse a
    /// machine. This is safe, because the document goes only to its own machine.
    pub(super) fn change_delivery(
        &self,
        record: &Record,
        node: &Label,
        change: impl FnOnce(&mut DocumentDelivery),
    ) {
        if let Err(error) = self.deliveries.change(record, node, change) {
            self.log.error(&error);
        }
    }

    /// Allows the delivery of a node's document, because an installation of the node's machine
    /// begins, and the installed system may need the document. The caller records the installation
    /// afterwards. If the caller recorded the installation first, an interruption would leave the
    /// record of an earlier delivery in place. The server would then treat the installation as
    /// completed.
    pub(super) fn open_delivery(&self, record: &Record, node: &Label) -> Result<()> {
        self.deliveries.open(record, node)
    }

    /// Returns a node's installation, even if its last change could not be recorded.
    pub(super) fn installation(
        &self,
        record: &Record,
        node: &Label,
    ) -> Result<Option<Installation>> {
        let recorded = record.installation(node)?;
        let present = record.installation_fingerprint(node);
        let unsaved = self.unsaved_installations.get(node, present.as_ref());
        Ok(unsaved.or(recorded))
    }

    /// Records a change of a node's installation. If the record cannot be written, this process
    /// remembers the change, because a machine that has received its document must not be
    /// installed again when the disk has space.
    pub(super) fn change_installation(
        &self,
        record: &Record,
        node: &Label,
        installation: &Installation,
        change: impl FnOnce(&mut Installation),
    ) {
        let mut changed = installation.clone();
        change(&mut changed);
        // Compare with the file, because an earlier change may not be recorded yet.
        let recorded = record.installation(node).map(Option::unwrap_or_default);
        if recorded.is_ok_and(|recorded| recorded == changed) {
            return;
        }
        match record.put_installation(node, &changed) {
            Ok(()) => self.unsaved_installations.forget(node),
            Err(error) => {
                self.log.error(&error);
                let replaces = record.installation_fingerprint(node);
                self.unsaved_installations.remember(node, changed, replaces);
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

    /// Returns this server's URL for a boot loader. Some builds of grub omit the port in the header
    /// `Host` (tried with Debian's 2.06). The URL for grub therefore has the port of the connection
    /// if the header has no port.
    pub(super) fn loader_url(&self, request: &ClientRequest, loader: Loader) -> String {
        let url = self.own_url(request);
        let port = request.local.port();
        let default = if self.scheme == "https" { 443 } else { 80 };
        let names_port = |host: &str| {
            let end = host.rsplit(']').next().unwrap_or_default();
            end.contains(':')
        };
        match &request.host {
            Some(host) if loader == Loader::Grub && port != default && !names_port(host) => {
                format!("{}:{port}/", url.trim_end_matches('/'))
            }
            _ => url,
        }
    }

    /// Logs an event, such as a report from a node.
    pub(super) fn log_event(
        &self,
        request: &ClientRequest,
        node: Option<&Label>,
        what: impl Into<String>,
    ) {
        let kind = match node {
            Some(_) => LineKind::Node,
            None => LineKind::Ordinary,
        };
        self.log_line(request, kind, node, None, what.into());
    }

    /// Logs the delivery of a document, certificates or the installer to a node's machine.
    pub(super) fn log_delivery(
        &self,
        request: &ClientRequest,
        node: &Label,
        what: impl Into<String>,
    ) {
        self.log_line(request, LineKind::Delivery, Some(node), None, what.into());
    }

    pub(super) fn log_refusal(&self, request: &ClientRequest, refusal: &Refusal) {
        self.log_line(
            request,
            LineKind::Ordinary,
            None,
            Some(refusal.id),
            format!("refused: {}", refusal.why),
        );
    }

    fn log_line(
        &self,
        request: &ClientRequest,
        kind: LineKind,
        node: Option<&Label>,
        refused: Option<RefusalId>,
        what: String,
    ) {
        let node = node.map(ToString::to_string);
        self.log.add(Line {
            kind,
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
/// each node, what prevents the delivery of documents, and which machines the server does not
/// install yet.
pub(super) fn startup_notes(
    cluster: &ServedCluster,
    listening: &[std::net::SocketAddr],
    installs: bool,
    retries: u32,
) -> Vec<String> {
    let mut lines = Vec::new();
    for node in cluster.nodes.iter() {
        lines.push(format!(
            "{} {}: {}",
            node.name,
            node.address,
            how_recognised(node)
        ));
    }
    if listening.iter().all(|address| address.ip().is_loopback()) {
        lines.push(
            "warning: the server listens only on loopback addresses, so only this host can connect. \
             Even with a proxy, no machine receives a document, because the proxy hides which \
             machine asks"
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
    lines.extend(without_tree(cluster, retries).filter(|_| !installs));
    if installs && !new.is_empty() {
        lines.push(format!(
            "the following machines are not installed until you run `builder allow --all \
             --install`, which erases their disks: {}",
            new.join(", ")
        ));
    }
    lines
}

/// Returns a warning for a server without a tree, if the operator has allowed the installation of
/// machines.
fn without_tree(cluster: &ServedCluster, retries: u32) -> Option<String> {
    let allowed = |node: &&NodeIdentity| {
        let installation = cluster.record.installation(&node.name).ok().flatten();
        installation.is_some_and(|it| matches!(it.next(retries), NextBoot::Install(_)))
    };
    let nodes = cluster.nodes.iter().filter(allowed);
    let allowed: Vec<&str> = nodes.map(|node| node.name.as_str()).collect();
    (!allowed.is_empty()).then(|| {
        format!(
            "warning: the installation of the following machines is allowed, but the server cannot \
             install them without an installation tree: {}. Name the tree with --tree or --mirror",
            allowed.join(", ")
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::record::Installation;

    #[test]
    fn a_server_without_a_tree_names_the_machines_that_it_does_not_install() {
        let root = tempfile::tempdir().unwrap();
        let nodes = ["etcd-1", "etcd-2", "etcd-3"];
        for (node, last) in nodes.iter().zip(1..) {
            crate::serve::cluster::write_identity(root.path(), node, last);
        }
        let state = root.path().join("state");
        let cluster = ServedCluster::read(root.path(), &state).unwrap();
        cluster.record.begin(SystemTime::now()).unwrap();
        let warnings = |installs| {
            let lines = startup_notes(&cluster, &[([0, 0, 0, 0], 8080).into()], installs, 3);
            let is_warning = |note: &&String| note.contains("without an installation tree");
            lines.iter().filter(is_warning).cloned().collect::<Vec<_>>()
        };
        assert!(warnings(false).is_empty(), "no machine is allowed");
        let allow = |name: &str, installation: &Installation| {
            let name = name.parse().unwrap();
            cluster
                .record
                .put_installation(&name, installation)
                .unwrap();
        };
        allow("etcd-1", &Installation::allowed());
        let mut installed = Installation::allowed();
        installed.note_document(SystemTime::now());
        allow("etcd-2", &installed);
        let [warning] = &warnings(false)[..] else {
            panic!("{:?}", warnings(false))
        };
        assert!(
            warning.contains("etcd-1") && warning.contains("--tree"),
            "{warning}"
        );
        assert!(
            !warning.contains("etcd-2") && !warning.contains("etcd-3"),
            "{warning}"
        );
        assert!(warnings(true).is_empty());
    }
}
