//! The recipe: one TOML file that describes a cluster.

mod address;
mod backup;
mod etcd;
mod files;
mod firewall;
mod install;
mod node;
mod policy;
mod ssh;
mod tls;
mod update;
mod values;

use toml::de::DeTable;

pub use address::{Address, NetworkRange};
pub use etcd::Etcd;
pub use files::{Files, LocalFile, OverlayFile};
pub use firewall::Firewall;
pub use install::{
    Disk, Family, Install, Keymap, Locale, Package, Partitions, Repo, RepoKey, RepoName, Timezone,
};
pub use node::{Cluster, Node};
pub use policy::{Profile, Selinux, SelinuxMode, SysctlSetting, Time, Tuning};
pub use ssh::SshKey;
pub use tls::{AuthorityFiles, Tls};
pub use values::{Base, CryptHash, Host, Size, Word};

use crate::backup::Backup;
use crate::cluster::{ClusterDocument, Member, MetadataPolicy, Network};
use crate::diagnostic::{Diagnostic, Severity};
use crate::reader::{Findings, Table, explain};
use crate::update::Update;

/// A cluster as its operator describes it. A `Recipe` value is always free of errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// `[cluster]`: the name and the domain.
    pub cluster: Cluster,
    /// `[[node]]`: the machines.
    pub nodes: Vec<Node>,
    /// `[network]`: the network that the nodes share.
    pub network: Network,
    /// `[etcd]`: the release and its settings.
    pub etcd: Etcd,
    /// `[install]`: the settings for anaconda.
    pub install: Install,
    /// `[time]`: the time servers.
    pub time: Time,
    /// `[tuning]`: the kernel's settings.
    pub tuning: Tuning,
    /// `[firewall]`: which addresses may connect to which ports.
    pub firewall: Firewall,
    /// `[files]`: files that the user adds.
    pub files: Files,
    /// `[selinux]`: SELinux's mode, and etcd's own domain.
    pub selinux: Selinux,
    /// `[tls]`: the authority, the origin of the nodes' keys, and the lifetimes of certificates.
    pub tls: Tls,
    /// `[metadata]`: the sources from which a node may learn its identity.
    pub metadata: MetadataPolicy,
    /// `[backup]`: how the cluster is backed up. Without this section, there are no scheduled
    /// backups.
    pub backup: Option<Backup>,
    /// `[update]`: how running nodes switch to a newer image. Without this section, the operator
    /// starts each update.
    pub update: Option<Update>,
    /// `[image] date`: the date of every file in the image, in seconds since 1970.
    pub date: u64,
}

/// The result of reading a recipe.
#[derive(Debug)]
pub struct RecipeReport {
    /// The recipe, if there are no errors.
    pub recipe: Option<Recipe>,
    /// Errors and warnings, sorted by their positions.
    pub findings: Vec<Diagnostic>,
}

/// Reads a recipe, and reports all its mistakes together. If there are syntax errors, reports only
/// the syntax errors.
pub fn read(text: &str) -> RecipeReport {
    let (document, errors) = DeTable::parse_recoverable(text);
    let findings = Findings::default();
    let syntax: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), error.message().to_owned()))
        .collect();
    for finding in explain(text, &syntax) {
        findings.add(finding);
    }
    // A syntax error can split sections, so further findings could be misleading.
    let recipe = if errors.is_empty() {
        read_sections(&Table::root(document.get_ref(), &findings))
    } else {
        None
    };
    let findings = findings.sorted();
    let failed = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    RecipeReport {
        recipe: recipe.filter(|_| !failed),
        findings,
    }
}

fn read_sections(root: &Table<'_>) -> Option<Recipe> {
    let cluster = node::read_cluster(root);
    let nodes = node::read_nodes(root);
    if let Some(cluster) = &cluster {
        node::check_names(root, cluster, &nodes);
    }
    let network = node::read_network(root, &nodes);
    let etcd = etcd::read(root);
    let install = install::read(root);
    let (time, tuning) = (policy::read_time(root), policy::read_tuning(root));
    let firewall = firewall::read(root, network.as_ref(), &nodes);
    let files = files::read(root);
    check_room(root, etcd.as_ref(), install.as_ref());
    let (selinux, tls) = (policy::read_selinux(root), tls::read_tls(root));
    let metadata = policy::read_metadata(root, tls.keys);
    let backup = backup::read(root);
    let update = update::read(root);
    let date = read_date(root);
    root.finish();
    // Skip this check if there are errors, because the faulty key or section may contain the SSH
    // key or the password.
    if let Some(install) = install.as_ref().filter(|_| !root.has_errors()) {
        check_access(root, install);
    }
    Some(Recipe {
        cluster: cluster?,
        nodes: nodes.into_iter().map(|node| node.value).collect(),
        network: network?,
        etcd: etcd?,
        install: install?,
        time,
        tuning,
        firewall: firewall?,
        files,
        selinux,
        tls,
        metadata,
        backup,
        update,
        date,
    })
}

/// Warns if the recipe has neither an SSH key nor a password. In this case, no one can log in to a
/// machine, so the machine can only be reinstalled.
fn check_access(root: &Table<'_>, install: &Install) {
    if install.ssh_keys.is_empty() && install.root_password.is_none() {
        let place = root.place("install").unwrap_or(0..0);
        let message =
            "no one can log in to the nodes: the recipe has no SSH key and no root password";
        let help = "set `ssh-keys` under [install]; `builder init --ssh-key FILE` writes a recipe with a key";
        root.report(Diagnostic::warning(place, message).help(help));
    }
}

/// Checks that etcd's volume has room for two databases that are as large as the quota, because a
/// snapshot from the leader is stored next to the old database.
fn check_room(root: &Table<'_>, etcd: Option<&Etcd>, install: Option<&Install>) {
    let (Some(etcd), Some(volume)) = (etcd, install.and_then(|install| install.partitions.etcd))
    else {
        return;
    };
    let quota = Size(etcd.settings.quota_backend_bytes);
    if quota.0.saturating_mul(2) > volume.0 {
        let place = root.place_below(&["install", "partitions", "etcd"]);
        let place = place.unwrap_or(0..0);
        let message =
            format!("a volume of {volume} for etcd is too small for its quota of {quota}");
        root.report(
            Diagnostic::error(place, message)
                .help("make the volume at least twice the quota, or set a smaller `quota`"),
        );
    }
}

/// The default date, 2000-01-01. tar warns about a file whose date is in the future. A node's clock
/// normally shows a date after 2000, so tar does not warn about the default date.
const DEFAULT_DATE: u64 = 946_684_800;

fn read_date(root: &Table<'_>) -> u64 {
    let Some(table) = root.table("image") else {
        return DEFAULT_DATE;
    };
    let date = table.date("date").and_then(|date| {
        let seconds = values::unix_seconds(&date.value);
        if seconds.is_none() {
            table.report(
                Diagnostic::error(date.span, "`date` is out of bounds")
                    .label("expected 1980 to 2099"),
            );
        }
        seconds
    });
    table.finish();
    date.unwrap_or(DEFAULT_DATE)
}

impl Recipe {
    /// Returns the cluster document, which the image contains.
    pub fn cluster_document(&self) -> ClusterDocument {
        ClusterDocument {
            name: self.cluster.name.clone(),
            domain: self.cluster.domain.clone(),
            members: self
                .nodes
                .iter()
                .map(|node| Member {
                    name: node.name.clone(),
                    address: node.address,
                })
                .collect(),
            etcd: self.etcd.settings.clone(),
            network: self.network.clone(),
            metadata: self.metadata.clone(),
            backup: self.backup.clone(),
            keys: self.tls.keys,
            enrol: self.tls.enrol.clone(),
            update: self.update.clone(),
            data: self.install.data,
        }
    }
}

#[cfg(test)]
mod tests;
