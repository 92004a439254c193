//! The cluster to which a PKI folder belongs. A folder serves only one cluster, because a client
//! certificate has root access in every cluster that trusts its CA. `cluster.json` records the
//! cluster. If an earlier version of the builder created the folder without this record, the
//! certificates identify the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use recipes::{Domain, Label, Recipe};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::certificate::Certificate;
use super::{Event, PkiError, signing, store};

/// The record's name in the folder.
pub(super) const FILE: &str = "cluster.json";

/// The facts that distinguish a cluster from other clusters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterRecord {
    /// The cluster's name.
    pub(crate) name: Label,
    /// The domain of the cluster's nodes.
    pub(crate) domain: Domain,
    /// The nodes and their addresses.
    pub(crate) nodes: BTreeMap<Label, Ipv4Addr>,
}

impl From<&Recipe> for ClusterRecord {
    fn from(recipe: &Recipe) -> Self {
        Self {
            name: recipe.cluster.name.clone(),
            domain: recipe.cluster.domain.clone(),
            nodes: recipe
                .nodes
                .iter()
                .map(|node| (node.name.clone(), node.address))
                .collect(),
        }
    }
}

impl fmt::Display for ClusterRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|(name, address)| format!("{name} {address}"))
            .collect();
        write!(
            f,
            "`{}` in {} ({})",
            self.name,
            self.domain,
            nodes.join(", ")
        )
    }
}

impl ClusterRecord {
    /// Returns whether two records describe the same cluster at different times. The name and the
    /// domain must be the same in both records, and at least one address must be in both records.
    /// Names alone do not distinguish clusters, because `etcd` is the default name and
    /// `cluster.local` the default domain.
    pub(crate) fn is_same_cluster(&self, other: &Self) -> bool {
        let addresses = |cluster: &Self| cluster.nodes.values().copied().collect::<BTreeSet<_>>();
        (&self.name, &self.domain) == (&other.name, &other.domain)
            && !addresses(self).is_disjoint(&addresses(other))
    }
}

/// The program that opens a PKI folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opener {
    /// A build, which records the nodes and addresses of its recipe.
    Build,
    /// A program that answers a request. This program records nothing, because its recipe may be
    /// older than the recipe of the last build. For example, the program may have waited for that
    /// build to end.
    Signer,
}

impl Opener {
    /// Locks the folder. A build also creates the folder.
    ///
    /// # Errors
    /// Fails if a signer opens a folder that has no signing key. The folder may have vanished, for
    /// example because its file system is not mounted. If the signer then created new files, no one
    /// would notice the loss, and the signer would accept a key of any machine as a node's first
    /// key.
    pub(super) fn lock(self, dir: &Path) -> Result<store::Lock, PkiError> {
        let patience = match self {
            Self::Build => {
                store::folder(dir)?;
                store::LOCK_TIMEOUT
            }
            Self::Signer => {
                signing::check_exists(dir)?;
                store::check_mode(dir, store::WRITABLE_BY_OTHERS)?;
                store::ANSWER_LOCK_TIMEOUT
            }
        };
        store::Lock::wait_for(dir, patience)
    }
}

/// Refuses a folder of another cluster. Returns the new record if the record must be written.
pub(super) fn check(
    dir: &Path,
    cluster: &ClusterRecord,
    ready_made: bool,
) -> Result<Option<String>, PkiError> {
    let path = dir.join(FILE);
    match read(&path)? {
        Some(recorded) if recorded == *cluster => return Ok(None),
        Some(recorded) if recorded.is_same_cluster(cluster) => {}
        Some(recorded) => return Err(belongs_to(dir, &recorded.to_string(), cluster)),
        None => check_certificates(dir, cluster, ready_made)?,
    }
    text(&path, cluster).map(Some)
}

/// Returns the cluster that a folder's record names, if the folder has a record.
pub(crate) fn recorded(dir: &Path) -> Result<Option<ClusterRecord>, PkiError> {
    read(&dir.join(FILE))
}

/// Returns whether the folder's record names exactly this cluster, with these nodes and addresses.
pub(crate) fn is_of(dir: &Path, cluster: &ClusterRecord) -> bool {
    matches!(recorded(dir), Ok(Some(recorded)) if recorded == *cluster)
}

fn belongs_to(dir: &Path, owner: &str, cluster: &ClusterRecord) -> PkiError {
    PkiError::wrong(
        dir,
        format!(
            "this PKI folder belongs to the cluster {owner}, but the recipe describes {cluster}"
        ),
        "with one CA for two clusters, each cluster's client certificates would have root access \
         to the other cluster: name another folder with --pki, or another --out, which has its own PKI folder \
         next to it. If this is the same cluster with new names or addresses, run `builder pki \
         assign FOLDER RECIPE`",
    )
}

fn read(path: &Path) -> Result<Option<ClusterRecord>, PkiError> {
    let Some(text) = store::read(path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        PkiError::wrong(
            path,
            format!("it is not the record of a cluster ({error})"),
            "restore it from a backup, or write it again with `builder pki assign FOLDER RECIPE`",
        )
    })
}

/// Refuses a name if the folder's record names a cluster without a node of this name.
pub(super) fn knows(dir: &Path, name: &Label) -> Result<(), PkiError> {
    let path = dir.join(FILE);
    match read(&path)? {
        Some(cluster) if !cluster.nodes.contains_key(name) => Err(PkiError::wrong(
            &path,
            format!("{name} is not a node of the cluster {cluster}"),
            "name a node of this cluster",
        )),
        _ => Ok(()),
    }
}

fn text(path: &Path, cluster: &ClusterRecord) -> Result<String, PkiError> {
    let json = serde_json::to_string_pretty(cluster);
    let json = json.map_err(|error| {
        PkiError::wrong(
            path,
            format!("it cannot be written as JSON ({error})"),
            "report this bug",
        )
    })?;
    Ok(json + "\n")
}

/// The facts that a certificate in the folder reveals about its cluster.
#[derive(Debug)]
struct Evidence {
    path: PathBuf,
    /// The organization, which the builder sets to the cluster's name.
    name: Option<String>,
    /// Whether the certificate is in use and has not been replaced.
    in_use: bool,
    sans: BTreeSet<String>,
}

/// Checks a folder without a record. Every node certificate in the folder must name the cluster. If
/// certificates in use have SANs, at least one of these certificates must cover a node's full name
/// and address. A folder without certificates does not belong to a cluster yet.
///
/// The organization of `ready_made` certificates is not checked, because their issuer chose it.
fn check_certificates(
    dir: &Path,
    cluster: &ClusterRecord,
    ready_made: bool,
) -> Result<(), PkiError> {
    let found = evidence(dir)?;
    let name = Some(cluster.name.to_string());
    if !ready_made && let Some(other) = found.iter().find(|evidence| evidence.name != name) {
        let owner = other.name.as_deref().unwrap_or("(no organization)");
        return Err(belongs_to(
            dir,
            &format!("`{owner}`, according to {}", other.path.display()),
            cluster,
        ));
    }
    let covers = |evidence: &&Evidence| {
        let mut nodes = cluster.nodes.iter();
        nodes.any(|(node, address)| {
            let sans = [
                format!("DNS:{node}.{}", cluster.domain),
                format!("IP:{address}"),
            ];
            sans.iter().all(|san| evidence.sans.contains(san))
        })
    };
    let servers: Vec<&Evidence> = found
        .iter()
        .filter(|evidence| evidence.in_use && !evidence.sans.is_empty())
        .collect();
    match servers.first() {
        Some(first) if !servers.iter().any(covers) => {
            let names: Vec<&str> = first.sans.iter().map(String::as_str).collect();
            let path = first.path.display();
            Err(belongs_to(
                dir,
                &format!("that {path} was issued for ({})", names.join(", ")),
                cluster,
            ))
        }
        _ => Ok(()),
    }
}

/// Returns the certificates of the nodes, including replaced certificates. A certificate that
/// cannot be parsed is skipped.
fn evidence(dir: &Path) -> Result<Vec<Evidence>, PkiError> {
    let mut out = Vec::new();
    for node in store::list(&dir.join("nodes"))? {
        for path in store::list(&node)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let in_use = name.ends_with(".crt");
            if !path.is_file() || !(in_use || name.contains(".crt.old-")) {
                continue;
            }
            let leaf = Certificate::all(&store::read(&path)?.unwrap_or_default())
                .ok()
                .map(|mut all| all.remove(0));
            if let Some(Certificate {
                organization: name,
                sans,
                ..
            }) = leaf
            {
                out.push(Evidence {
                    path,
                    name,
                    in_use,
                    sans,
                });
            }
        }
    }
    Ok(out)
}

/// Records that a folder belongs to this cluster, even if it belonged to another cluster before.
pub(crate) fn assign(
    dir: &Path,
    cluster: &ClusterRecord,
    now: OffsetDateTime,
) -> Result<Event, PkiError> {
    let path = dir.join(FILE);
    let _lock = store::existing(dir)?;
    let text = text(&path, cluster)?;
    if !store::exists(&path)? {
        store::put(&path, text.as_bytes(), store::PUBLIC)?;
        return Ok(Event::Made { path });
    }
    let kept = store::replace(&path, text.as_bytes(), store::PUBLIC, now)?;
    Ok(Event::Replaced {
        path,
        why: format!("the folder is assigned to the cluster {cluster}"),
        kept,
    })
}

/// Writes the record into the folder.
pub(super) fn record(dir: &Path, text: &str) -> Result<(), PkiError> {
    store::overwrite(&dir.join(FILE), text.as_bytes(), store::PUBLIC)
}
