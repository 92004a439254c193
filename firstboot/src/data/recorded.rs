//! Defines the recorded facts about this member's data, on which `check` and `wal_checkpoint` rely.

use serde::{Deserialize, Serialize};

use super::inode::{Directories, Inode};
use crate::domain::DiskId;

/// The recorded facts about this member's data. firstboot reads these facts from its journal, and
/// the guard reads them from /run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedData {
    #[serde(rename = "life")]
    pub(crate) disk_id: Option<DiskId>,
    /// The empty directory that firstboot created for etcd's first start.
    #[serde(rename = "made")]
    pub(crate) created: Option<Inode>,
    /// The identity of the data, or `None` until etcd has created its WAL.
    #[serde(rename = "known")]
    pub(crate) identity: Option<DataIdentity>,
    /// The ids that the WAL must contain, if they are known.
    pub(crate) ids: Ids,
}

/// The identity of a member's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataIdentity {
    pub(crate) directories: Directories,
    /// The member's id, as in its WAL.
    pub(crate) member: u64,
    /// The cluster's id, as in the member's WAL.
    pub(crate) cluster: u64,
}

impl DataIdentity {
    /// Returns the ids in the WAL of this data.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The guard of a newer or an older image may read the file in /run.
    #[test]
    fn the_keys_are_the_same_as_in_earlier_versions() {
        let text = serde_json::to_string(&RecordedData::default()).unwrap();
        assert_eq!(
            text,
            r#"{"life":null,"made":null,"known":null,"ids":{"member":null,"cluster":null}}"#
        );
    }
}
