//! What the journal says of this disk.

mod standing;

use std::collections::BTreeSet;
use std::path::PathBuf;

use recipes::{ClusterDocument, EtcdVersion, Label};

use super::decide::Memory;
use super::epoch::{Epoch, Lives, Nonce};
use super::ids;
use super::task::Task;
use crate::journal::{Entry, Event, Exchange, Journal, Told};
use crate::rotation::Name;
use crate::steps::etcd_conf::Start;

pub(super) use standing::{Standing, standing};

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
                | Event::Add { .. }
                | Event::Promote { .. }
                | Event::Trust { .. } => {}
            }
        }
        past
    }

    /// The data that was there is set aside, and the other is etcd's.
    fn exchanged(&mut self) {
        self.told = None;
        let Some(Exchange { from, aside, token, members, cluster, member, revision }) = self.exchange.take() else {
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
            .or_else(|| begun_as.map(|start| ids::cluster_id(urls(start).iter().map(String::as_str), &start.token)));
        let old_revision = std::mem::replace(&mut self.revision, revision);
        // Data that was set aside comes back as it was; other data is made anew, and no etcd has used it.
        let returns = self.set_aside.as_ref().filter(|before| before.path == from);
        let old_etcd = std::mem::replace(&mut self.etcd, returns.and_then(|before| before.etcd));
        (self.healthy, self.added, self.word) = (false, None, Word::None);
        self.set_aside = match (aside, before, old_cluster) {
            (Some(path), Some(begun), Some(cluster)) => {
                Some(SetAside { path, begun, cluster, member: old_member, revision: old_revision, etcd: old_etcd })
            }
            _ => None,
        };
    }

    /// What a node that was told something remembers.
    pub(crate) fn told_memory(&self, cluster: &ClusterDocument, name: &Label, told: &Told) -> Memory {
        let names = cluster.members.iter().map(|member| member.name.clone());
        let epoch = |(lives, task): &(Lives, Task)| Epoch::new(cluster, lives.clone(), *task);
        Memory {
            name: name.clone(),
            initial: names.filter(|name| !told.without.contains(name)).collect(),
            without: told.without.clone(),
            nonce: told.nonce,
            epochs: self.told_ready.iter().map(epoch).collect(),
            task: told.task,
        }
    }

    /// What a node in this life remembers.
    pub(crate) fn memory(&self, cluster: &ClusterDocument, name: &Label, nonce: Nonce) -> Memory {
        let names = cluster.members.iter().map(|member| member.name.clone());
        let epochs: &[Lives] = if self.nonce == Some(nonce) { &self.ready } else { &[] };
        Memory {
            name: name.clone(),
            initial: names.filter(|name| !self.without.contains(name)).collect(),
            without: self.without.clone(),
            nonce,
            epochs: epochs.iter().map(|lives| Epoch::new(cluster, lives.clone(), Task::New)).collect(),
            task: Task::New,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::volume::{Data, Volume};
    use super::*;

    fn past(events: Vec<Event>) -> Past {
        Past::from(&events.into_iter().map(|event| Entry { at: 0, event }).collect::<Vec<_>>())
    }

    /// A member of the cluster 1 that was told to restore, and did: it is one of the cluster 2 now.
    pub(crate) fn restored() -> Vec<Event> {
        let members = vec![("a".to_owned(), "https://a:2380".to_owned())];
        let snapshot = recipes::Sha256::of(b"s");
        let told = Told {
            nonce: Nonce::of(2),
            task: Task::Restore { snapshot, seen: Some(5) },
            without: BTreeSet::new(),
            source: None,
            until: 0,
        };
        let exchange = Exchange {
            from: "/new".into(),
            aside: Some("/aside/1".into()),
            token: "r".to_owned(),
            members: members.clone(),
            cluster: 2,
            member: Some(20),
            revision: 9,
        };
        let lives = Lives::from([("a".parse().unwrap(), Nonce::of(2))]);
        vec![
            Event::Life { nonce: Nonce::of(1) },
            Event::Bootstrap { token: "t".to_owned(), members },
            Event::Uses { etcd: "3.5.1".parse().unwrap() },
            Event::Healthy { cluster: 1, member: 10 },
            Event::Ready { lives: lives.clone(), task: Task::New },
            Event::Told(Box::new(told.clone())),
            Event::Ready { lives, task: told.task },
            Event::Exchange(Box::new(exchange)),
            Event::Exchanged,
        ]
    }

    #[test]
    fn a_restored_node_is_a_member_of_the_new_cluster_and_can_return() {
        let past = past(restored());
        assert!(past.told.is_none() && past.exchange.is_none() && !past.healthy);
        assert_eq!((past.cluster, past.member, past.revision), (Some(2), Some(20), 9));
        let aside = past.set_aside.clone().unwrap();
        assert_eq!((aside.path, aside.cluster, aside.member), ("/aside/1".into(), 1, Some(10)));
        assert_eq!((aside.begun.state, aside.begun.token.as_str()), ("new", "t"));
        assert_eq!((past.etcd, aside.etcd.map(|etcd| etcd.patch)), (None, Some(1)));
        // Its data lost, it must not begin as an empty member whose log the others take for theirs.
        for data in [Data::Empty, Data::HalfBorn] {
            let standing = standing(&past, data, Volume::Known);
            assert_eq!(standing, Standing::Empty { life: None, aside: data == Data::HalfBorn });
        }
    }

    #[test]
    fn until_it_is_exchanged_it_is_what_it_was() {
        let events = restored();
        for (cut, told, ready, exchange) in [(6, true, 0, false), (7, true, 1, false), (8, true, 1, true)] {
            let mut events = events[..cut].to_vec();
            let now = past(events.clone());
            assert_eq!((now.told.is_some(), now.told_ready.len(), now.exchange.is_some()), (told, ready, exchange));
            assert_eq!((now.cluster, now.member, now.healthy), (Some(1), Some(10), true));
            events.push(Event::GivenUp);
            let after = past(events);
            assert!(after.told.is_none() && after.exchange.is_none());
            assert_eq!(after.begun, now.begun);
        }
    }

    #[test]
    fn the_operators_word_holds_until_it_is_carried_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path().join("journal")).unwrap();
        let mut after = |event| {
            journal.add(event).unwrap();
            Past::of(&journal)
        };
        after(Event::Life { nonce: Nonce::of(1) });
        after(Event::Join { token: "t".into(), members: vec![] });
        after(Event::Healthy { cluster: 1, member: 2 });
        assert_eq!(after(Event::Leave { member: 2 }).word, Word::Leave(2));
        assert_eq!(after(Event::Stay { member: 2 }).word, Word::None);
        after(Event::Leave { member: 2 });
        assert_eq!(after(Event::Left { member: 2 }).word, Word::Left(2));
        let again = after(Event::Rejoin { member: 2 });
        assert_eq!((again.word, again.nonce, again.begun), (Word::Rejoin, Some(Nonce::of(1)), None));
        let new = after(Event::Life { nonce: Nonce::of(3) });
        assert_eq!((new.word, new.member), (Word::None, None));
    }
}
