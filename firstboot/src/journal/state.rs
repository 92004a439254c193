//! What the journal says of this disk.

use std::collections::BTreeSet;
use std::path::PathBuf;

use recipes::{EtcdVersion, Label};

use super::event::{Event, Exchange, Told};
use super::file::{Entry, Journal};
use crate::data::{Expected, Ids, Inode, Known};
use crate::domain::{Lives, Name, Nonce, Start, Task, cluster_id, member_id};

/// What the journal holds that matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// Whom the operator gave up.
    pub(crate) without: BTreeSet<Label>,
    /// The life of the disk; none before the first, and none after the operator gave somebody up.
    pub(crate) nonce: Option<Nonce>,
    /// The lives it was ever ready with in the life it has.
    pub(crate) ready: Vec<Lives>,
    /// The same in all lives that the journal knows.
    pub(crate) agreed: Vec<Lives>,
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
    pub(crate) told: Option<Told>,
    /// What it was ready to begin with by that.
    pub(crate) told_ready: Vec<(Lives, Task)>,
    /// The exchange of data that has begun, and is not known to be done.
    pub(crate) exchange: Option<Exchange>,
    /// The data that the last exchange set aside.
    pub(crate) set_aside: Option<SetAside>,
    /// The CAs whose certificates this node may show: all others were seen to trust them.
    pub(crate) cleared: BTreeSet<Name>,
    /// Where it stands with its cluster by the operator's word.
    pub(crate) word: Word,
}

/// What the operator said of a member's place in its cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing.
    #[default]
    None,
    /// That it shall leave. Perhaps it is removed already.
    Leave(u64),
    /// That it shall leave, and it is removed.
    Left(u64),
    /// That it is none any more and shall be taken in again. Its data may still be there.
    Rejoin,
}

/// Data that was this node's before a restore, and what it was with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetAside {
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

impl Past {
    /// From the journal.
    pub(crate) fn of(journal: &Journal) -> Self {
        Self::from(&journal.entries)
    }

    /// From a beginning of it.
    pub(crate) fn from(entries: &[Entry]) -> Self {
        let mut past = Self::default();
        for entry in entries {
            match &entry.event {
                Event::Without { names } => {
                    past.without.clone_from(names);
                    past.nonce = None;
                }
                Event::Life { nonce } => {
                    let Self { without, agreed, .. } = past;
                    past = Self { nonce: Some(*nonce), without, agreed, ..Self::default() };
                }
                Event::Ready { lives, task } => {
                    if past.told.is_some() {
                        past.told_ready.push((lives.clone(), *task));
                    } else {
                        past.ready.push(lives.clone());
                    }
                    past.agreed.push(lives.clone());
                }
                Event::Bootstrap { token, members } => {
                    past.begun = Some(Start { state: "new", token: token.clone(), members: members.clone() });
                }
                Event::Join { token, members } => {
                    past.begun = Some(Start { state: "existing", token: token.clone(), members: members.clone() });
                }
                Event::Add { cluster } => past.joining = Some(*cluster),
                Event::DataMade { directory } => (past.made, past.data) = (Some(*directory), None),
                Event::DataBegun(known) => past.data = Some(*known),
                Event::DataAccepted => (past.made, past.data) = (None, None),
                Event::Added { member } => (past.added, past.member) = (Some(*member), Some(*member)),
                Event::Healthy { cluster, member } => {
                    (past.healthy, past.cluster, past.member) = (true, Some(*cluster), Some(*member));
                }
                Event::Uses { etcd } => past.etcd = Some(*etcd),
                Event::Told(told) => (past.told, past.told_ready) = (Some((**told).clone()), Vec::new()),
                Event::GivenUp => (past.told, past.exchange) = (None, None),
                Event::Exchange(exchange) => past.exchange = Some((**exchange).clone()),
                Event::Exchanged => past.exchanged(),
                Event::Show { authorities } => past.cleared.clone_from(authorities),
                Event::Leave { member } => past.word = Word::Leave(*member),
                Event::Stay { .. } => past.word = Word::None,
                Event::Left { member } => past.word = Word::Left(*member),
                Event::Rejoin { .. } => {
                    // The life stays until its data is put aside, since by it the volume is known.
                    let Self { nonce, without, agreed, .. } = past;
                    past = Self { nonce, without, agreed, word: Word::Rejoin, ..Self::default() };
                }
                Event::Accepted { .. }
                | Event::Aside { .. }
                | Event::Remove { .. }
                | Event::Promote { .. }
                | Event::Trust { .. } => {}
            }
        }
        past
    }

    /// The data that was there is set aside, and the other is etcd's.
    fn exchanged(&mut self) {
        self.told = None;
        let Some(Exchange { from, aside, token, members, cluster, member, revision, data }) = self.exchange.take()
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
        let returns = self.set_aside.as_ref().filter(|before| before.path == from);
        let old_etcd = std::mem::replace(&mut self.etcd, returns.and_then(|before| before.etcd));
        (self.healthy, self.added, self.joining, self.word) = (false, None, None, Word::None);
        let old_data = std::mem::replace(&mut self.data, data);
        self.made = None;
        self.set_aside = match (aside, before, old_cluster) {
            (Some(path), Some(begun), Some(cluster)) => {
                let (member, revision, data, etcd) = (old_member, old_revision, old_data, old_etcd);
                Some(SetAside { path, begun, cluster, member, revision, data, etcd })
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
        Expected { life: self.nonce, made: self.made, known: self.data, ids }
    }
}

#[cfg(test)]
pub(super) mod tests;
