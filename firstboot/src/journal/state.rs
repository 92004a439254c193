//! Derives the state of this node from all events of the journal.

use std::collections::BTreeSet;
use std::path::PathBuf;

use recipes::{EtcdVersion, Label};

use super::event::{DataSwap, Event, RestoreOrder};
use super::file::{Entry, Journal};
use crate::data::{DataIdentity, Ids, Inode, RecordedData};
use crate::domain::{
    BootstrapMode, CaSubject, DiskId, InitialCluster, Nonces, cluster_id, member_id,
};

/// The state of this node according to its journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeState {
    /// The members that the operator excluded.
    pub(crate) without: BTreeSet<Label>,
    /// The id of the disk. The value is `None` until firstboot has generated an id, and again after
    /// the operator has excluded a member.
    pub(crate) disk_id: Option<DiskId>,
    /// The sets of nonces that this node has accepted since it generated its current disk id,
    /// except the sets that it accepted for a restore order.
    pub(crate) accepted: Vec<Nonces>,
    /// The sets of nonces that this node has accepted since the journal began.
    pub(crate) accepted_ever: Vec<Nonces>,
    /// The initial-cluster settings with which etcd starts on this disk.
    pub(crate) initial_cluster: Option<InitialCluster>,
    /// The member id that etcd assigned when this node, with this disk, was added to a running
    /// cluster.
    pub(crate) added_member_id: Option<u64>,
    /// The cluster to which firstboot adds, or has added, this node with this disk.
    pub(crate) joining_cluster_id: Option<u64>,
    /// The empty directory that firstboot created for etcd's first start on this disk.
    pub(crate) created: Option<Inode>,
    /// The identity of etcd's data, or `None` if the journal does not contain it, for example
    /// before etcd has created its WAL.
    pub(crate) data: Option<DataIdentity>,
    pub(crate) member_id: Option<u64>,
    pub(crate) cluster_id: Option<u64>,
    /// The version of etcd that last used the data.
    pub(crate) etcd_version: Option<EtcdVersion>,
    /// Whether etcd has been a healthy member on this disk since the disk was empty, or since its
    /// data was restored.
    pub(crate) was_healthy: bool,
    /// Whether etcd has ever been a healthy member on this node, even if its data has been lost
    /// since then.
    pub(crate) was_member: bool,
    /// The highest of the revisions from which the cluster continued after this node's restores, or
    /// 0 if this node was never restored.
    pub(crate) revision: u64,
    /// The operator's order to restore or to roll back, if the order has not been completed or
    /// abandoned yet.
    pub(crate) order: Option<RestoreOrder>,
    /// The nonces and the mode of each proposal that this node has accepted for the current restore
    /// order.
    pub(crate) accepted_for_order: Vec<(Nonces, BootstrapMode)>,
    /// Whether this node has accepted a binding restore, so that it must not use its previous data
    /// again.
    pub(crate) bound: bool,
    /// The data swap that has begun but is not complete.
    pub(crate) swap: Option<DataSwap>,
    /// The data that the last swap archived.
    pub(crate) archived: Option<ArchivedData>,
    /// The CAs whose certificates this node may use, because all other members trust these CAs.
    pub(crate) trusted_by_all: BTreeSet<CaSubject>,
    /// The operator's order about the node's membership.
    pub(crate) intent: MembershipIntent,
}

/// An order about a node's membership.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum MembershipIntent {
    #[default]
    None,
    /// The member was ordered to leave, and may already have been removed.
    Leaving(u64),
    /// The member was ordered to leave, and has been removed.
    Left(u64),
    /// The node, which is no longer a member, was ordered to join again. The node's old data may
    /// still exist.
    Rejoining,
}

/// The data that a swap archived, and the node's state with that data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchivedData {
    pub(crate) path: PathBuf,
    /// The initial-cluster settings that etcd used with the data.
    pub(crate) initial_cluster: InitialCluster,
    pub(crate) cluster_id: u64,
    /// The node's member id with the archived data, if it is known.
    pub(crate) member_id: Option<u64>,
    /// The value of [`NodeState::revision`] when the data was archived.
    pub(crate) revision: u64,
    pub(crate) data: Option<DataIdentity>,
    /// The version of etcd that last used the archived data.
    pub(crate) etcd_version: Option<EtcdVersion>,
}

impl NodeState {
    pub(crate) fn of(journal: &Journal) -> Self {
        Self::from(&journal.entries)
    }

    pub(crate) fn from(entries: &[Entry]) -> Self {
        let mut state = Self::default();
        for entry in entries {
            state.apply(&entry.event);
        }
        state
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::MembersExcluded { names } => {
                self.without.clone_from(names);
                self.disk_id = None;
            }
            Event::DiskIdDrawn { disk_id } => {
                self.forget_member(Some(*disk_id), MembershipIntent::None);
            }
            Event::ProposalAccepted { nonces, mode } => self.add_accepted(nonces, *mode),
            Event::Bootstrap { token, members } => self.begin("new", token, members),
            Event::Join { token, members } => self.begin("existing", token, members),
            Event::Add { cluster } => self.joining_cluster_id = Some(*cluster),
            Event::DataDirCreated { directory } => {
                (self.created, self.data) = (Some(*directory), None);
            }
            Event::WalCreated(known) => self.data = Some(*known),
            Event::DataAccepted => (self.created, self.data) = (None, None),
            Event::Added { member } => {
                (self.added_member_id, self.member_id) = (Some(*member), Some(*member));
            }
            Event::Healthy { cluster, member } => {
                (self.was_healthy, self.cluster_id, self.member_id) =
                    (true, Some(*cluster), Some(*member));
                self.was_member = true;
            }
            Event::EtcdVersionRecorded { etcd } => self.etcd_version = Some(*etcd),
            Event::RestoreOrdered(order) => {
                (self.order, self.accepted_for_order) = (Some((**order).clone()), Vec::new());
            }
            Event::RestoreAbandoned => self.end_order(),
            Event::SwapBegun(data_swap) => self.swap = Some((**data_swap).clone()),
            Event::SwapDone => self.finish_swap(),
            Event::CertificatesTrustedByAll { authorities } => {
                self.trusted_by_all.clone_from(authorities);
            }
            Event::Leave { member } => self.intent = MembershipIntent::Leaving(*member),
            Event::LeaveCancelled { .. } => self.intent = MembershipIntent::None,
            Event::Left { member } => self.leave(*member),
            // Keep the disk id until the data is archived, because firstboot recognises the volume
            // by this id.
            Event::Rejoin { .. } => self.forget_member(self.disk_id, MembershipIntent::Rejoining),
            Event::IdentityAccepted { .. }
            | Event::DataArchived { .. }
            | Event::Remove { .. }
            | Event::Promote { .. }
            | Event::Trust { .. } => {}
        }
    }

    /// Forgets the member and its data, but keeps the facts on which later decisions depend.
    fn forget_member(&mut self, disk_id: Option<DiskId>, intent: MembershipIntent) {
        *self = Self {
            disk_id,
            without: std::mem::take(&mut self.without),
            accepted_ever: std::mem::take(&mut self.accepted_ever),
            was_member: self.was_member,
            revision: self.revision,
            intent,
            ..Self::default()
        };
    }

    /// Ends the membership, and abandons an earlier restore order.
    fn leave(&mut self, member: u64) {
        self.intent = MembershipIntent::Left(member);
        self.end_order();
    }

    /// Ends a restore order that was not carried out.
    fn end_order(&mut self) {
        (self.order, self.swap) = (None, None);
        self.bound = false;
    }

    /// If this node has left its cluster, returns its former member id. Returns `None` while a
    /// later restore order is in progress, because a restore makes the node a member again.
    pub(crate) fn has_left(&self) -> Option<u64> {
        match self.intent {
            MembershipIntent::Left(member) if self.order.is_none() => Some(member),
            _ => None,
        }
    }

    fn begin(&mut self, state: &'static str, token: &str, members: &[(String, String)]) {
        self.initial_cluster = Some(InitialCluster {
            state,
            token: token.to_owned(),
            members: members.to_vec(),
        });
    }

    fn add_accepted(&mut self, nonces: &Nonces, mode: BootstrapMode) {
        if let Some(order) = &self.order {
            self.accepted_for_order.push((nonces.clone(), mode));
            self.bound |= order.binding;
        } else {
            self.accepted.push(nonces.clone());
        }
        self.accepted_ever.push(nonces.clone());
    }

    /// Applies a complete swap: the previous data has been archived, and the new data is in place.
    fn finish_swap(&mut self) {
        self.order = None;
        self.bound = false;
        let Some(DataSwap {
            from,
            archive_to,
            token,
            members,
            cluster,
            member,
            revision,
            data,
        }) = self.swap.take()
        else {
            return;
        };
        // With `existing`, etcd fails if the data is lost before etcd first runs. With `new`, etcd
        // would start with an empty log, and the other members would mistake this log for the
        // member's own log.
        let start = InitialCluster {
            state: "existing",
            token,
            members,
        };
        let before = self.initial_cluster.replace(start);
        let (old_cluster, old_member) = (
            self.cluster_id.replace(cluster),
            std::mem::replace(&mut self.member_id, member),
        );
        // If etcd never reported the previous cluster's id, for example because that cluster never
        // had a quorum, compute the id from the initial-cluster settings.
        let begun_as = before.as_ref().filter(|start| start.state == "new");
        let old_cluster =
            old_cluster.or_else(|| begun_as.map(|start| cluster_id(start.urls(), &start.token)));
        // Clients have seen the revisions after an earlier restore, even if other data has replaced
        // the restored data since then.
        let old_revision = self.revision;
        self.revision = old_revision.max(revision);
        // A rollback puts archived data back unchanged. Any other data is newly built, so no
        // version of etcd has used it.
        let returns = self.archived.as_ref().filter(|before| before.path == from);
        let etcd_version = returns.and_then(|before| before.etcd_version);
        let old_etcd = std::mem::replace(&mut self.etcd_version, etcd_version);
        (self.was_healthy, self.intent) = (false, MembershipIntent::None);
        (self.added_member_id, self.joining_cluster_id) = (None, None);
        let old_data = std::mem::replace(&mut self.data, data);
        self.created = None;
        self.archived = match (archive_to, before, old_cluster) {
            (Some(path), Some(begun), Some(cluster)) => Some(ArchivedData {
                path,
                initial_cluster: begun,
                cluster_id: cluster,
                member_id: old_member,
                revision: old_revision,
                data: old_data,
                etcd_version: old_etcd,
            }),
            _ => None,
        };
    }

    /// Returns the ids of this node's member and cluster, if they are known. `name` is the name of
    /// this node. If etcd has not reported the ids yet, computes them from the agreement of the
    /// members.
    pub(crate) fn ids(&self, name: &Label) -> Ids {
        let begun = self
            .initial_cluster
            .as_ref()
            .filter(|start| start.state == "new" && !start.token.is_empty());
        let own = |start: &InitialCluster| {
            let own = start
                .members
                .iter()
                .find(|(other, _)| other == name.as_str());
            own.map(|(_, url)| member_id(url, &start.token))
        };
        let cluster = |start: &InitialCluster| cluster_id(start.urls(), &start.token);
        Ids {
            member: self.member_id.or_else(|| begun.and_then(own)),
            cluster: self
                .cluster_id
                .or(self.joining_cluster_id)
                .or_else(|| begun.map(cluster)),
        }
    }

    /// Returns what the journal records about etcd's data. `name` is the name of this node.
    pub(crate) fn recorded_data(&self, name: &Label) -> RecordedData {
        RecordedData {
            disk_id: self.disk_id,
            created: self.created,
            identity: self.data,
            ids: self.ids(name),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
