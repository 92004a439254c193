//! The events of the journal. Their serialized names are a format: nodes read what earlier versions
//! wrote.

use std::collections::BTreeSet;
use std::path::PathBuf;

use recipes::{EtcdVersion, Label, Sha256};
use serde::{Deserialize, Serialize};

use crate::data::{Inode, Known};
use crate::domain::{BootstrapMode, CaSubject, DiskId, DiskIds};
use crate::files::FileFingerprint;
use crate::machine::Machine;

/// One event. A decision is written before firstboot acts on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Event {
    /// This machine accepted a node document.
    Accepted {
        /// The member's name.
        name: Label,
        /// The machine that accepted it.
        machine: Machine,
    },
    /// The operator ordered that the cluster begins without these members.
    Without {
        /// Members of the recipe.
        names: BTreeSet<Label>,
    },
    /// firstboot found the disk empty and gave it an id.
    Life {
        /// The id.
        #[serde(rename = "nonce")]
        disk_id: DiskId,
    },
    /// This node saw all other members ready to agree, with these disk ids, and will announce that
    /// it is ready.
    Ready {
        /// The disk ids of all initial members.
        #[serde(rename = "lives")]
        disk_ids: DiskIds,
        /// Whether they begin with a new cluster or with restored data.
        #[serde(
            rename = "task",
            default,
            skip_serializing_if = "BootstrapMode::is_new"
        )]
        mode: BootstrapMode,
    },
    /// etcd of this version will use the data.
    Uses {
        /// The version.
        etcd: EtcdVersion,
    },
    /// This node begins as an initial member of a new cluster with this token.
    Bootstrap {
        /// etcd's `initial-cluster-token`.
        token: String,
        /// Its initial members with their peer URLs.
        members: Vec<(String, String)>,
    },
    /// firstboot removes the member that this node was before it got a new disk.
    Remove {
        /// Its id.
        member: u64,
    },
    /// firstboot adds this node as a learner.
    Add {
        /// The id of the cluster.
        cluster: u64,
    },
    /// etcd added this node.
    Added {
        /// The id it got.
        member: u64,
    },
    /// This node joins the cluster that it was added to.
    Join {
        /// etcd's `initial-cluster-token`; a joining member ignores it.
        token: String,
        /// All members with their peer URLs, this one among them.
        members: Vec<(String, String)>,
    },
    /// firstboot made an empty directory for etcd's first start.
    DataMade {
        /// Which one.
        directory: Inode,
    },
    /// etcd created its log: from now on these directories are the member's data.
    DataBegun(Known),
    /// The operator confirmed that the data directory holds this member's newest data.
    DataAccepted,
    /// firstboot promotes this node to a voter.
    Promote {
        /// Its id.
        member: u64,
    },
    /// firstboot restarts etcd, so that it trusts other CAs.
    Trust {
        /// All CAs that it will trust.
        authorities: BTreeSet<CaSubject>,
    },
    /// All other members trust these CAs, so this node installs its document's certificates, which
    /// they signed.
    Show {
        /// The subjects of the CAs that signed them.
        authorities: BTreeSet<CaSubject>,
    },
    /// The operator ordered that this member leaves its cluster; the cluster can do without it.
    /// firstboot removes it now.
    Leave {
        /// Its id.
        member: u64,
    },
    /// The member could not be removed in time and stays a member.
    Stay {
        /// Its id.
        member: u64,
    },
    /// The member is removed, and etcd stays stopped.
    Left {
        /// The id it had.
        member: u64,
    },
    /// The operator ordered that this node, which is no longer a member, joins again.
    Rejoin {
        /// The id it had.
        member: u64,
    },
    /// firstboot archives the data directory, which an interrupted first start or a removed member
    /// left behind.
    Aside {
        /// The path in the archive.
        path: PathBuf,
    },
    /// The operator ordered a restore or a rollback; etcd stops.
    #[serde(rename = "told")]
    RestoreOrdered(Box<RestoreOrder>),
    /// All members agreed, and the swap of the data begins. From here on firstboot can only
    /// complete it.
    Exchange(Box<DataSwap>),
    /// The swap is complete.
    Exchanged,
    /// The restore was abandoned; etcd keeps its previous data.
    GivenUp,
    /// etcd on this node answered a read through raft.
    Healthy {
        /// The cluster's id, as etcd gives it.
        cluster: u64,
        /// The member's id.
        member: u64,
    },
}

/// An order of the operator to restore or to roll back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestoreOrder {
    /// An id that is drawn for this order only.
    #[serde(rename = "nonce")]
    pub(crate) disk_id: DiskId,
    /// Whether the node begins with restored data or returns to previous data.
    #[serde(rename = "task")]
    pub(crate) mode: BootstrapMode,
    /// The members of the recipe that the restore does not wait for.
    pub(crate) without: BTreeSet<Label>,
    /// The snapshot; none for a rollback.
    pub(crate) source: Option<SnapshotFile>,
    /// When firstboot abandons the order, in seconds since 1970.
    pub(crate) until: u64,
}

/// A snapshot on this node's disk, as it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotFile {
    /// The file.
    pub(crate) path: PathBuf,
    /// The digest of the whole file.
    pub(crate) sha256: Sha256,
    /// The revision of the snapshot.
    pub(crate) revision: u64,
    /// Whether it ends with etcd's own digest.
    pub(crate) digest: bool,
    /// The file's identity when it was verified: firstboot notices a replacement without reading
    /// the file again.
    pub(crate) stamp: FileFingerprint,
}

/// The swap of etcd's data for other data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataSwap {
    /// The path of the new data.
    pub(crate) from: PathBuf,
    /// The archive path of the previous data, if there was any.
    pub(crate) aside: Option<PathBuf>,
    /// The token of the cluster that the new data belongs to.
    pub(crate) token: String,
    /// Its initial members with their peer URLs.
    pub(crate) members: Vec<(String, String)>,
    /// The id of that cluster.
    pub(crate) cluster: u64,
    /// The member id of this node in that cluster, if it is known.
    pub(crate) member: Option<u64>,
    /// The revision that the cluster continues from.
    pub(crate) revision: u64,
    /// The directories of the new data. Journals of earlier versions do not have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Known>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of earlier versions wrote these lines, and read them again after a downgrade.
    #[test]
    fn the_names_in_a_line_are_those_of_earlier_versions() {
        let disk_id = DiskId::of(1);
        let disk_ids = DiskIds::from([("a".parse().unwrap(), disk_id)]);
        let mode = BootstrapMode::Rollback { cluster: 7 };
        let order = RestoreOrder {
            disk_id,
            mode,
            without: BTreeSet::new(),
            source: None,
            until: 9,
        };
        let id = "00000000000000000000000000000001";
        for (event, line) in [
            (
                Event::Life { disk_id },
                format!(r#"{{"event":"life","nonce":"{id}"}}"#),
            ),
            (
                Event::Ready {
                    disk_ids: disk_ids.clone(),
                    mode: BootstrapMode::New,
                },
                format!(r#"{{"event":"ready","lives":{{"a":"{id}"}}}}"#),
            ),
            (
                Event::Ready { disk_ids, mode },
                format!(
                    r#"{{"event":"ready","lives":{{"a":"{id}"}},"task":{{"rollback":{{"cluster":7}}}}}}"#
                ),
            ),
            (
                Event::RestoreOrdered(Box::new(order)),
                format!(
                    r#"{{"event":"told","nonce":"{id}","task":{{"rollback":{{"cluster":7}}}},"without":[],"source":null,"until":9}}"#
                ),
            ),
        ] {
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        }
    }
}
