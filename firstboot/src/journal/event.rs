//! What can stand in the journal.

use std::collections::BTreeSet;
use std::path::PathBuf;

use recipes::{EtcdVersion, Label, Sha256};
use serde::{Deserialize, Serialize};

use crate::data::{Inode, Known};
use crate::domain::{BootstrapMode, CaSubject, DiskId, DiskIds};
use crate::files::FileFingerprint;
use crate::machine::Machine;

/// One thing that happened. A decision is written before it is acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Event {
    /// A document made this machine this node.
    Accepted {
        /// The member's name.
        name: Label,
        /// The machine that it was accepted on.
        machine: Machine,
    },
    /// The operator said that the cluster shall begin without these.
    Without {
        /// Members of the recipe.
        names: BTreeSet<Label>,
    },
    /// The disk was found empty, and its life in the bootstrap barrier begins.
    Life {
        /// Drawn for it.
        #[serde(rename = "nonce")]
        disk_id: DiskId,
    },
    /// All others were seen, empty, in these lives; this node will be told as ready.
    Ready {
        /// The lives of all initial members.
        #[serde(rename = "lives")]
        disk_ids: DiskIds,
        /// What they agree on.
        #[serde(rename = "task", default, skip_serializing_if = "BootstrapMode::is_new")]
        mode: BootstrapMode,
    },
    /// etcd of this version shall use the data.
    Uses {
        /// The version.
        etcd: EtcdVersion,
    },
    /// This node shall be an initial member of a new cluster with this token.
    Bootstrap {
        /// etcd's `initial-cluster-token`.
        token: String,
        /// Its initial members with their peer URLs.
        members: Vec<(String, String)>,
    },
    /// A cluster lives in which another life of this node is a member; that one shall be removed.
    Remove {
        /// Its id.
        member: u64,
    },
    /// This node shall be added as a learner.
    Add {
        /// To the cluster with this id.
        cluster: u64,
    },
    /// It was added.
    Added {
        /// The id it got.
        member: u64,
    },
    /// This node shall join the cluster that it was added to.
    Join {
        /// etcd's `initial-cluster-token`; a joining member does not heed it.
        token: String,
        /// All members with their peer URLs, this one among them.
        members: Vec<(String, String)>,
    },
    /// An empty directory was made for etcd's first start.
    DataMade {
        /// Which one.
        directory: Inode,
    },
    /// etcd has made its log in it: from now on these directories are the member's data.
    DataBegun(Known),
    /// The operator said that the data directory as it is now is this member's newest.
    DataAccepted,
    /// This node shall have a vote.
    Promote {
        /// Its id.
        member: u64,
    },
    /// etcd shall be started anew, to trust other CAs.
    Trust {
        /// All that it shall trust.
        authorities: BTreeSet<CaSubject>,
    },
    /// All others trust these CAs: this node shall show its document's certificates, which are by them.
    Show {
        /// Who signed them.
        authorities: BTreeSet<CaSubject>,
    },
    /// The operator said that this member shall leave its cluster, and it is safe; now it is removed.
    Leave {
        /// Its id.
        member: u64,
    },
    /// It could not be removed in time, and goes on as a member.
    Stay {
        /// Its id.
        member: u64,
    },
    /// It is no member any more, and etcd stays down.
    Left {
        /// The id it had.
        member: u64,
    },
    /// The operator said that this node, which is no member any more, shall be taken in again.
    Rejoin {
        /// The id it had.
        member: u64,
    },
    /// The data directory is put aside: what a bootstrap that was cut short left, or a member that is none any more.
    Aside {
        /// Where to.
        path: PathBuf,
    },
    /// The operator told this node to begin anew with what it does not have yet; etcd stops.
    #[serde(rename = "told")]
    RestoreOrdered(Box<RestoreOrder>),
    /// All agreed. This is the moment from which there is only forward.
    Exchange(Box<DataSwap>),
    /// Both folders have their new names.
    Exchanged,
    /// Nothing came of it: etcd goes on with the data it had.
    GivenUp,
    /// etcd on this node answered, with a quorum behind it.
    Healthy {
        /// The cluster's id, as etcd gives it.
        cluster: u64,
        /// The member's id.
        member: u64,
    },
}

/// What an operator told a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestoreOrder {
    /// Drawn for this one time.
    #[serde(rename = "nonce")]
    pub(crate) disk_id: DiskId,
    /// What it is to begin with.
    #[serde(rename = "task")]
    pub(crate) mode: BootstrapMode,
    /// The members of the recipe that shall not be waited for.
    pub(crate) without: BTreeSet<Label>,
    /// The snapshot, where that is what it begins with.
    pub(crate) source: Option<SnapshotFile>,
    /// When it is given up by itself, in seconds since 1970.
    pub(crate) until: u64,
}

/// A snapshot on this node's disk, as it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotFile {
    /// The file.
    pub(crate) path: PathBuf,
    /// The digest of all of it.
    pub(crate) sha256: Sha256,
    /// The revision in it.
    pub(crate) revision: u64,
    /// Whether it ends with etcd's own digest.
    pub(crate) digest: bool,
    /// Which file it was then, so that another put in its place is noticed without reading all of it again.
    pub(crate) stamp: FileFingerprint,
}

/// Other data takes the place of etcd's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataSwap {
    /// What takes the place.
    pub(crate) from: PathBuf,
    /// Where the data that was there goes, if there was any.
    pub(crate) aside: Option<PathBuf>,
    /// The token of the cluster it belongs to.
    pub(crate) token: String,
    /// Its initial members with their peer URLs.
    pub(crate) members: Vec<(String, String)>,
    /// The id of that cluster.
    pub(crate) cluster: u64,
    /// The id of this node in it, where that is known.
    pub(crate) member: Option<u64>,
    /// The revision that it goes on from.
    pub(crate) revision: u64,
    /// Which directories it is. Journals of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Known>,
}
