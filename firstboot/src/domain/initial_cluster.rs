//! Defines the settings with which etcd joins or bootstraps its cluster.

use recipes::cluster::Member;
use recipes::{ClusterDocument, Label};

/// The settings with which a member joins or bootstraps its cluster. etcd uses these settings only
/// while it has no WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InitialCluster {
    /// `initial-cluster-state`: `new` or `existing`.
    pub(crate) state: &'static str,
    /// `initial-cluster-token`.
    pub(crate) token: String,
    /// `initial-cluster`: the names and peer URLs of all members.
    pub(crate) members: Vec<(String, String)>,
}

impl InitialCluster {
    /// Creates the settings for an initial member of a new cluster.
    pub(crate) fn new_cluster<'a>(
        cluster: &ClusterDocument,
        token: &str,
        initial: impl Iterator<Item = &'a Label>,
    ) -> Self {
        let members = initial.filter_map(|name| cluster.member(name));
        let members = members
            .map(|member| (member.name.to_string(), member.peer_url()))
            .collect();
        Self {
            state: "new",
            token: token.to_owned(),
            members,
        }
    }

    /// Creates the settings for a member that already has its WAL. etcd ignores these settings as
    /// long as the WAL exists. If the WAL is lost, etcd tries to join an existing cluster. The
    /// settings do not name any other member, so this attempt fails, and etcd exits with "cannot
    /// fetch cluster info from peer urls" (server/etcdserver/bootstrap.go,
    /// bootstrapExistingClusterNoWAL; the same from 3.4 to 3.7).
    pub(crate) fn for_existing_wal(&self, own: &Member) -> Self {
        Self {
            state: "existing",
            token: self.token.clone(),
            members: vec![(own.name.to_string(), own.peer_url())],
        }
    }

    /// Returns the peer URLs of all members.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(_, url)| url.as_str())
    }
}
