//! The values available to the templates. A template refers to each value by the name of its field.

use anyhow::Result;
use recipes::backup::{self, Destination};
use recipes::cluster::NetworkMode;
use recipes::recipe::{self, RepoKey};
use recipes::update::{AutoUpdatePolicy, Update};
use recipes::{ETCD_ID, Recipe, Sha256};
use serde::Serialize;

use super::packages;

use crate::files;
use crate::tuning::{self, Place, block, value};

/// The digests that the kickstart checks. It verifies its overlay with the first digest. If the
/// installer keeps the etcd volume of a disk, the kickstart checks with the second digest that the
/// disk belongs to this cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverlayDigests {
    /// The digest of the packed overlay.
    pub(crate) sha256: Sha256,
    /// The digest of the file with the cluster's public key.
    pub(crate) trust: Sha256,
}

impl OverlayDigests {
    /// Placeholders for the digests in a kickstart that is only displayed or compared, and never
    /// installs a machine.
    pub(crate) const NONE: Self = Self {
        sha256: Sha256::new([0; 32]),
        trust: Sha256::new([0; 32]),
    };
}

#[derive(Debug, Serialize)]
pub(super) struct Rendering {
    cluster: Names,
    nodes: Vec<Node>,
    etcd: Etcd,
    network: Network,
    install: Install,
    time: Time,
    tuning: Tuning,
    firewall: Firewall,
    selinux: Selinux,
    /// `None` means that there are no scheduled backups.
    backup: Option<Backup>,
    /// `None` means that the operator starts each update.
    auto_update: Option<AutoUpdate>,
    /// `None` means that the nodes do not renew their certificates themselves.
    renewal: Option<Renewal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay: Option<Overlay>,
}

#[derive(Debug, Serialize)]
struct Names {
    name: String,
    domain: String,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    fqdn: String,
    address: String,
}

#[derive(Debug, Serialize)]
struct Etcd {
    version: String,
    uid: u32,
    gid: u32,
}

#[derive(Debug, Serialize)]
struct Network {
    mode: &'static str,
}

#[derive(Debug, Serialize)]
struct Install {
    family_name: &'static str,
    trees: Vec<String>,
    repomd_sha256: String,
    /// The file, on the node, with the key that verifies the packages of the installation trees.
    key: &'static str,
    repos: Vec<Repo>,
    servers: Vec<String>,
    disk: String,
    boot_mb: u64,
    root_mb: u64,
    etcd_mb: u64,
    /// Whether the installer keeps the volume of etcd.
    keep: bool,
    timezone: String,
    lang: String,
    keyboard: String,
    root_password: String,
    console: String,
    // The SSH keys, as complete lines.
    ssh_keys: String,
    packages: String,
    excluded: String,
    /// The recipe's own units and scripts.
    units: Vec<String>,
    post: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Repo {
    name: String,
    urls: Vec<String>,
    repomd_sha256: String,
    /// The path of the key file on the node, or an empty string if there is no key.
    key: String,
}

#[derive(Debug, Serialize)]
struct Time {
    servers: Vec<String>,
    pools: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Tuning {
    profile: &'static str,
    mount_options: String,
    root_mount_options: String,
    thp: String,
    nofile: String,
    core: String,
    // The settings as complete lines, which the builder generates from its table of settings.
    sysctl: String,
    journald: String,
    chrony: String,
    packages: String,
}

#[derive(Debug, Serialize)]
struct Firewall {
    clients: Vec<String>,
    peers: Vec<String>,
    admins: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Selinux {
    mode: &'static str,
    module: bool,
}

#[derive(Debug, Serialize)]
struct Backup {
    on_calendar: String,
    /// The folder to which the backup may write in addition to `/var/backups/etcd`.
    folder: String,
}

#[derive(Debug, Serialize)]
struct AutoUpdate {
    on_calendar: String,
    /// The longest random delay, in seconds.
    delay: u64,
}

#[derive(Debug, Serialize)]
struct Renewal {
    /// The interval in seconds at which the node checks whether a renewal is due.
    every: u64,
}

#[derive(Debug, Serialize)]
struct Overlay {
    sha256: String,
    /// The digest of the public key in the overlay. If the installer keeps the etcd volume of a
    /// disk, the kickstart compares this digest with the digest of the key on the disk, because no
    /// other cluster has the same key.
    trust: String,
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn text<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

impl Rendering {
    /// Collects the values for the templates. The digests in `overlay` are known only after the
    /// overlay is packed, so a file in the overlay cannot contain them.
    pub(super) fn new(recipe: &Recipe, overlay: Option<OverlayDigests>) -> Result<Self> {
        let document = recipe.cluster_document();
        let tuning = tuning(recipe)?;
        Ok(Self {
            cluster: Names {
                name: recipe.cluster.name.to_string(),
                domain: recipe.cluster.domain.to_string(),
            },
            nodes: document
                .members
                .iter()
                .map(|member| Node {
                    name: member.name.to_string(),
                    fqdn: document.fqdn(&member.name),
                    address: member.address.to_string(),
                })
                .collect(),
            etcd: Etcd {
                version: recipe.etcd.settings.version.to_string(),
                uid: ETCD_ID,
                gid: ETCD_ID,
            },
            network: Network {
                mode: match recipe.network.mode {
                    NetworkMode::Dhcp => "dhcp",
                    NetworkMode::Static => "static",
                },
            },
            install: Self::install(recipe),
            time: Time {
                servers: texts(&recipe.time.servers),
                pools: texts(&recipe.time.pools),
            },
            tuning,
            firewall: Firewall {
                clients: texts(&recipe.firewall.clients),
                peers: texts(&recipe.firewall.peers),
                admins: texts(&recipe.firewall.admins),
            },
            selinux: Selinux {
                mode: recipe.selinux.mode.name(),
                module: recipe.selinux.module,
            },
            backup: recipe.backup.as_ref().map(backup),
            auto_update: recipe
                .update
                .as_ref()
                .and_then(Update::auto)
                .map(auto_update),
            renewal: recipe.tls.enrol.as_ref().map(|_| Renewal {
                // At this interval, the node makes at least twenty attempts to renew a certificate
                // in the last third of the certificate's lifetime.
                every: (recipe.tls.certificate_life.as_secs() / 60).clamp(1, 600),
            }),
            overlay: overlay.map(|overlay| Overlay {
                sha256: overlay.sha256.to_string(),
                trust: overlay.trust.to_string(),
            }),
        })
    }

    /// Returns the values for the installer.
    fn install(recipe: &Recipe) -> Install {
        let install = &recipe.install;
        Install {
            family_name: install.family.name(),
            trees: texts(&install.trees),
            repomd_sha256: text(install.repomd_sha256.as_ref()),
            key: install.family.key(),
            repos: install.repos.iter().map(repo).collect(),
            servers: texts(&install.servers),
            disk: text(install.disk.as_ref()),
            boot_mb: install.partitions.boot.mib(),
            root_mb: install.partitions.root.mib(),
            etcd_mb: install
                .partitions
                .etcd
                .map_or(0, recipes::recipe::Size::mib),
            keep: !install.data.is_wipe(),
            timezone: install.timezone.to_string(),
            lang: install.lang.to_string(),
            keyboard: install.keyboard.to_string(),
            root_password: text(install.root_password.as_ref()),
            console: text(install.console.as_ref()),
            ssh_keys: texts(&install.ssh_keys).join("\n"),
            packages: packages::listed(recipe),
            excluded: packages::excluded(recipe),
            units: files::units(&recipe.files).map(str::to_owned).collect(),
            post: files::post_paths(&recipe.files).collect(),
        }
    }
}

fn repo(repo: &recipe::Repo) -> Repo {
    let key = match &repo.key {
        None => String::new(),
        Some(RepoKey::OnNode(path)) => path.clone(),
        Some(RepoKey::File(_)) => format!("/{}", files::key_path(repo)),
    };
    let (name, urls) = (repo.name.to_string(), texts(&repo.urls));
    Repo {
        name,
        urls,
        repomd_sha256: text(repo.repomd_sha256.as_ref()),
        key,
    }
}

fn tuning(recipe: &Recipe) -> Result<Tuning> {
    let (settings, profile) = (tuning::settings(recipe)?, recipe.tuning.profile.name());
    let options = value(&settings, Place::Mount, "options")?;
    Ok(Tuning {
        profile,
        mount_options: options.clone(),
        root_mount_options: options,
        thp: value(&settings, Place::Kernel, "transparent_hugepage")?,
        nofile: value(&settings, Place::Limit, "nofile")?,
        core: value(&settings, Place::Limit, "core")?,
        sysctl: block(&settings, Place::Sysctl, profile, |key, value| {
            format!("{key} = {value}")
        }),
        journald: block(&settings, Place::Journald, profile, |key, value| {
            format!("{key}={value}")
        }),
        chrony: block(&settings, Place::Chrony, profile, |key, value| {
            format!("{key} {value}").trim_end().to_owned()
        }),
        packages: block(&settings, Place::Package, profile, |key, _| {
            format!("-{key}")
        }),
    })
}

fn backup(backup: &backup::Backup) -> Backup {
    let folder = match &backup.destination {
        Destination::Folder(path) => path.display().to_string(),
        // A snapshot for a bucket is stored and checked in the default folder before its upload.
        Destination::Bucket { .. } => backup::FOLDER.to_owned(),
    };
    Backup {
        on_calendar: backup.schedule.on_calendar(),
        folder,
    }
}

fn auto_update(auto: AutoUpdatePolicy) -> AutoUpdate {
    AutoUpdate {
        on_calendar: auto.every.on_calendar(),
        // docs/recipe.md documents that the delay is at most a tenth of the interval.
        delay: auto.every.period() / 10,
    }
}
