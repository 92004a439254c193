//! Derives this node's state in the barrier from its state in the journal.

use recipes::{ClusterDocument, Label};

use super::decide::LocalState;
use super::proposal::Proposal;
use crate::domain::{BootstrapMode, DiskId, Nonces};
use crate::journal::{NodeState, RestoreOrder};

impl LocalState {
    /// Returns the barrier state of a node with a restore order.
    pub(crate) fn of_order(
        state: &NodeState,
        cluster: &ClusterDocument,
        name: &Label,
        order: &RestoreOrder,
    ) -> Self {
        let names = cluster.members.iter().map(|member| member.name.clone());
        let proposal = |(nonces, mode): &(Nonces, BootstrapMode)| {
            Proposal::new(cluster, nonces.clone(), *mode)
        };
        Self {
            name: name.clone(),
            initial: names.filter(|name| !order.without.contains(name)).collect(),
            without: order.without.clone(),
            nonce: order.nonce,
            only_joins: false,
            proposals: state.accepted_for_order.iter().map(proposal).collect(),
            mode: order.mode,
        }
    }

    /// Returns the barrier state of a node that has an empty disk, and bootstraps or joins a
    /// cluster.
    pub(crate) fn of_new(
        state: &NodeState,
        cluster: &ClusterDocument,
        name: &Label,
        disk_id: DiskId,
    ) -> Self {
        let names = cluster.members.iter().map(|member| member.name.clone());
        let proposals: &[Nonces] = if state.disk_id == Some(disk_id) {
            &state.accepted
        } else {
            &[]
        };
        Self {
            name: name.clone(),
            initial: names.filter(|name| !state.without.contains(name)).collect(),
            without: state.without.clone(),
            nonce: disk_id.nonce(),
            only_joins: state.was_member,
            proposals: proposals
                .iter()
                .map(|nonces| Proposal::new(cluster, nonces.clone(), BootstrapMode::New))
                .collect(),
            mode: BootstrapMode::New,
        }
    }
}
