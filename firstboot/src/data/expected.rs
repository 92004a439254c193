//! What firstboot knows about this member's data, for `judge` and `progress`.

use serde::{Deserialize, Serialize};

use super::inode::{Directories, Inode};
use crate::domain::DiskId;

/// What firstboot knows about this member's data. firstboot reads it from its journal, and the
/// guard from /run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expected {
    /// The id of the disk.
    pub(crate) life: Option<DiskId>,
    /// The empty directory that firstboot created for etcd's first start.
    pub(crate) made: Option<Inode>,
    /// The data, once etcd has created its log in it.
    pub(crate) known: Option<Known>,
    /// The known ids that the log must have.
    pub(crate) ids: Ids,
}

/// The identity of a member's data.
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
        Ids {
            member: Some(self.member),
            cluster: Some(self.cluster),
        }
    }
}

/// The ids of a member and its cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ids {
    pub(crate) member: Option<u64>,
    pub(crate) cluster: Option<u64>,
}
