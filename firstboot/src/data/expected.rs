//! What firstboot knows of this member's data, and by which `judge` and `progress` go.

use serde::{Deserialize, Serialize};

use super::inode::{Directories, Inode};
use crate::domain::DiskId;

/// What firstboot knows of the data of this member: from its journal, and for the guard from /run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expected {
    /// The life of the disk.
    pub(crate) life: Option<DiskId>,
    /// The empty directory that firstboot made for etcd's first start.
    pub(crate) made: Option<Inode>,
    /// The data, once etcd has made its log in it.
    pub(crate) known: Option<Known>,
    /// The ids that the log must have, as far as they are known.
    pub(crate) ids: Ids,
}

/// The data of a member, as firstboot last saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) directories: Directories,
    /// The member's id in its log.
    pub(crate) member: u64,
    /// The cluster's id in its log.
    pub(crate) cluster: u64,
}

impl Known {
    /// The ids in its log.
    pub(crate) fn ids(&self) -> Ids {
        Ids { member: Some(self.member), cluster: Some(self.cluster) }
    }
}

/// Ids of a member and its cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ids {
    pub(crate) member: Option<u64>,
    pub(crate) cluster: Option<u64>,
}
