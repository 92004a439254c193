//! Defines how a node's cluster starts: as a new cluster by default, or with a restore or rollback
//! that an operator ordered.

use std::fmt;

use recipes::Sha256;
use serde::{Deserialize, Serialize};

/// The way in which the cluster starts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BootstrapMode {
    /// The disk is empty, and the cluster is new and empty.
    #[default]
    New,
    /// The cluster starts with the data of a snapshot.
    Restore {
        /// The digest of the whole snapshot file.
        snapshot: Sha256,
        /// The newest revision that any member of the cluster reported before the restore, or
        /// `None` if the cluster continues from the snapshot's own revision.
        seen: Option<u64>,
    },
    /// The cluster returns to the data that it had before the last restore.
    Rollback {
        /// The id of the cluster to which the earlier data belongs.
        cluster: u64,
    },
}

impl BootstrapMode {
    /// Returns whether this is the default mode, which does not need an operator's order.
    pub(crate) fn is_new(&self) -> bool {
        *self == Self::New
    }

    /// Combines the modes of two nodes, or returns `None` if their orders differ. The result
    /// contains the higher of the two revisions, so that the restored revision is above every
    /// revision that was reported to either node.
    pub(crate) fn merge(self, other: Self) -> Option<Self> {
        match (self, other) {
            (
                Self::Restore { snapshot, seen },
                Self::Restore {
                    snapshot: second,
                    seen: theirs,
                },
            ) => {
                (snapshot == second && seen.is_some() == theirs.is_some()).then(|| Self::Restore {
                    snapshot,
                    seen: seen.max(theirs),
                })
            }
            _ => (self == other).then_some(self),
        }
    }
}

impl fmt::Display for BootstrapMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("bootstrap a new cluster"),
            Self::Restore {
                snapshot,
                seen: Some(_),
            } => write!(f, "restore the snapshot {}", short(snapshot)),
            Self::Restore {
                snapshot,
                seen: None,
            } => {
                write!(
                    f,
                    "restore the snapshot {} and keep its revision",
                    short(snapshot)
                )
            }
            Self::Rollback { cluster } => write!(f, "return to the cluster {cluster:x}"),
        }
    }
}

/// Shortens a digest to the first 16 digits, which are enough for a person who compares digests.
pub(crate) fn short(digest: &Sha256) -> String {
    digest.to_string()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_agree_on_one_snapshot_and_the_higher_revision() {
        let restore = |content: &[u8], seen| BootstrapMode::Restore {
            snapshot: Sha256::of(content),
            seen,
        };
        assert_eq!(
            restore(b"a", Some(3)).merge(restore(b"a", Some(7))),
            Some(restore(b"a", Some(7)))
        );
        assert_eq!(restore(b"a", Some(3)).merge(restore(b"b", Some(3))), None);
        assert_eq!(restore(b"a", Some(3)).merge(restore(b"a", None)), None);
        assert_eq!(restore(b"a", None).merge(BootstrapMode::New), None);
        assert_eq!(
            BootstrapMode::Rollback { cluster: 1 }.merge(BootstrapMode::Rollback { cluster: 2 }),
            None
        );
        assert_eq!(
            BootstrapMode::New.merge(BootstrapMode::New),
            Some(BootstrapMode::New)
        );
    }

    #[test]
    fn a_bootstrap_mode_is_written_and_read() {
        for mode in [
            BootstrapMode::New,
            BootstrapMode::Restore {
                snapshot: Sha256::of(b"a"),
                seen: Some(u64::MAX),
            },
            BootstrapMode::Rollback { cluster: u64::MAX },
        ] {
            assert_eq!(
                serde_json::from_str::<BootstrapMode>(&serde_json::to_string(&mode).unwrap())
                    .unwrap(),
                mode
            );
        }
    }
}
