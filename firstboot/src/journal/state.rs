//! What the journal says of this disk.

use std::collections::BTreeSet;
use std::path::PathBuf;

use recipes::{EtcdVersion, Label};

use super::event::{DataSwap, Event, RestoreOrder};
use super::file::{Entry, Journal};
use crate::data::{Expected, Ids, Inode, Known};
use crate::domain::{BootstrapMode, CaSubject, DiskId, DiskIds, Start, cluster_id, member_id};

/// What the journal holds that matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeState {
    /// Whom the operator gave up.
    pub(crate) without: BTreeSet<Label>,
    /// The life of the disk; none before the first, and none after the operator gave somebody up.
    pub(crate) disk_id: Option<DiskId>,
    /// The lives it was ever ready with in the life it has.
    pub(crate) ready: Vec<DiskIds>,
    /// The same in all lives that the journal knows.
    pub(crate) agreed: Vec<DiskIds>,
    /// As what etcd was let go in this life.
    pub(crate) begun: Option<Start>,
    /// The member that this life was added as to a living cluster.
    pub(crate) added: Option<u64>,
    /// The cluster that it was to be added to.
    pub(crate) joining: Option<u64>,
    /// The empty directory that was made for etcd's first start in this life.
    pub(crate) made: Option<Inode>,
    /// etcd's data, since etcd has made its log.
    pub(crate) data: Option<Known>,
    /// The member that etcd on this disk is, or was when it was last asked.
    pub(crate) member: Option<u64>,
    /// The cluster that etcd on this disk belongs to, or did when it was last asked.
    pub(crate) cluster: Option<u64>,
    /// The version of etcd that used the data last.
    pub(crate) etcd: Option<EtcdVersion>,
    /// Whether etcd ever was a healthy member since.
    pub(crate) healthy: bool,
    /// The revision that this node's data began from, where it is a restored one.
    pub(crate) revision: u64,
    /// What the operator told it, and nothing has come of yet.
    pub(crate) order: Option<RestoreOrder>,
    /// What it was ready to begin with by that.
    pub(crate) ready_for_order: Vec<(DiskIds, BootstrapMode)>,
    /// The exchange of data that has begun, and is not known to be done.
    pub(crate) exchange: Option<DataSwap>,
    /// The data that the last exchange set aside.
    pub(crate) archived: Option<ArchivedData>,
    /// The CAs whose certificates this node may show: all others were seen to trust them.
    pub(crate) cleared: BTreeSet<CaSubject>,
    /// Where it stands with its cluster by the operator's word.
    pub(crate) intent: MembershipIntent,
}

/// What the operator said of a member's place in its cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum MembershipIntent {
    /// Nothing.
    #[default]
    None,
    /// That it shall leave. Perhaps it is removed already.
    Leaving(u64),
    /// That it shall leave, and it is removed.
    Left(u64),
    /// That it is none any more and shall be taken in again. Its data may still be there.
    Rejoining,
}

/// Data that was this node's before a restore, and what it was with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchivedData {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// As what etcd was let go with it.
    pub(crate) begun: Start,
    /// Its cluster.
    pub(crate) cluster: u64,
    /// Its member, where that is known.
    pub(crate) member: Option<u64>,
    /// The revision that it began from.
    pub(crate) revision: u64,
    /// Which directories it is.
    pub(crate) data: Option<Known>,
    /// The version of etcd that used it last.
    pub(crate) etcd: Option<EtcdVersion>,
}

impl NodeState {
    /// From the journal.
    pub(crate) fn of(journal: &Journal) -> Self {
        Self::from(&journal.entries)
    }

    /// From a beginning of it.
    pub(crate) fn from(entries: &[Entry]) -> Self {
        let mut state = Self::default();
        for entry in entries {
            match &entry.event {
                Event::Without { names } => {
                    state.without.clone_from(names);
                    state.disk_id = None;
                }
                Event::Life { disk_id } => {
                    let Self { without, agreed, .. } = state;
                    state = Self { disk_id: Some(*disk_id), without, agreed, ..Self::default() };
                }
                Event::Ready { disk_ids, mode } => {
                    if state.order.is_some() {
                        state.ready_for_order.push((disk_ids.clone(), *mode));
                    } else {
                        state.ready.push(disk_ids.clone());
                    }
                    state.agreed.push(disk_ids.clone());
                }
                Event::Bootstrap { token, members } => {
                    state.begun = Some(Start { state: "new", token: token.clone(), members: members.clone() });
                }
                Event::Join { token, members } => {
                    state.begun = Some(Start { state: "existing", token: token.clone(), members: members.clone() });
                }
                Event::Add { cluster } => state.joining = Some(*cluster),
                Event::DataMade { directory } => (state.made, state.data) = (Some(*directory), None),
                Event::DataBegun(known) => state.data = Some(*known),
                Event::DataAccepted => (state.made, state.data) = (None, None),
                Event::Added { member } => (state.added, state.member) = (Some(*member), Some(*member)),
                Event::Healthy { cluster, member } => {
                    (state.healthy, state.cluster, state.member) = (true, Some(*cluster), Some(*member));
                }
                Event::Uses { etcd } => state.etcd = Some(*etcd),
                Event::RestoreOrdered(order) => {
                    (state.order, state.ready_for_order) = (Some((**order).clone()), Vec::new())
                }
                Event::GivenUp => (state.order, state.exchange) = (None, None),
                Event::Exchange(exchange) => state.exchange = Some((**exchange).clone()),
                Event::Exchanged => state.exchanged(),
                Event::Show { authorities } => state.cleared.clone_from(authorities),
                Event::Leave { member } => state.intent = MembershipIntent::Leaving(*member),
                Event::Stay { .. } => state.intent = MembershipIntent::None,
                Event::Left { member } => state.intent = MembershipIntent::Left(*member),
                Event::Rejoin { .. } => {
                    // The life stays until its data is put aside, since by it the volume is known.
                    let Self { disk_id, without, agreed, .. } = state;
                    state = Self { disk_id, without, agreed, intent: MembershipIntent::Rejoining, ..Self::default() };
                }
                Event::Accepted { .. }
                | Event::Aside { .. }
                | Event::Remove { .. }
                | Event::Promote { .. }
                | Event::Trust { .. } => {}
            }
        }
        state
    }

    /// The data that was there is set aside, and the other is etcd's.
    fn exchanged(&mut self) {
        self.order = None;
        let Some(DataSwap { from, aside, token, members, cluster, member, revision, data }) = self.exchange.take()
        else {
            return;
        };
        // `existing`: should the data be lost before etcd first runs, it must not begin with an empty one as a member
        // whose log the others take for the same.
        let start = Start { state: "existing", token, members };
        let before = self.begun.replace(start);
        let (old_cluster, old_member) = (self.cluster.replace(cluster), std::mem::replace(&mut self.member, member));
        // It may never have had a quorum; its ids follow from how it began all the same.
        let urls = |start: &Start| start.members.iter().map(|(_, url)| url.clone()).collect::<Vec<_>>();
        let begun_as = before.as_ref().filter(|start| start.state == "new");
        let old_cluster = old_cluster
            .or_else(|| begun_as.map(|start| cluster_id(urls(start).iter().map(String::as_str), &start.token)));
        let old_revision = std::mem::replace(&mut self.revision, revision);
        // Data that was set aside comes back as it was; other data is made anew, and no etcd has used it.
        let returns = self.archived.as_ref().filter(|before| before.path == from);
        let old_etcd = std::mem::replace(&mut self.etcd, returns.and_then(|before| before.etcd));
        (self.healthy, self.added, self.joining, self.intent) = (false, None, None, MembershipIntent::None);
        let old_data = std::mem::replace(&mut self.data, data);
        self.made = None;
        self.archived = match (aside, before, old_cluster) {
            (Some(path), Some(begun), Some(cluster)) => {
                let (member, revision, data, etcd) = (old_member, old_revision, old_data, old_etcd);
                Some(ArchivedData { path, begun, cluster, member, revision, data, etcd })
            }
            _ => None,
        };
    }

    /// What etcd's data on the node of this name is to be.
    pub(crate) fn expected(&self, name: &Label) -> Expected {
        let begun = self.begun.as_ref().filter(|start| start.state == "new" && !start.token.is_empty());
        let urls = |start: &Start| start.members.iter().map(|(_, url)| url.clone()).collect::<Vec<_>>();
        let own = |start: &Start| {
            let own = start.members.iter().find(|(other, _)| other == name.as_str());
            own.map(|(_, url)| member_id(url, &start.token))
        };
        let cluster = |start: &Start| cluster_id(urls(start).iter().map(String::as_str), &start.token);
        let ids = Ids {
            member: self.member.or_else(|| begun.and_then(own)),
            cluster: self.cluster.or(self.joining).or_else(|| begun.map(cluster)),
        };
        Expected { life: self.disk_id, made: self.made, known: self.data, ids }
    }
}

#[cfg(test)]
pub(super) mod tests;
