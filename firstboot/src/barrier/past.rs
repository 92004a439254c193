//! What the journal and etcd's volume together say of this disk, and what follows from it.

use std::collections::BTreeSet;

use recipes::{ClusterDocument, Label};

use super::decide::Memory;
use super::epoch::{Epoch, Lives, Nonce};
use super::volume::{Data, Volume};
use crate::journal::{Event, Journal};

/// How etcd begins, or began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// `initial-cluster-token`.
    pub(crate) token: String,
    /// The initial members.
    pub(crate) members: BTreeSet<Label>,
}

/// What the journal holds that matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// Whom the operator gave up.
    pub(crate) without: BTreeSet<Label>,
    /// The life of the disk; none before the first, and none after the operator gave somebody up.
    pub(crate) nonce: Option<Nonce>,
    /// The lives it was ever ready with in the life it has.
    pub(crate) ready: Vec<Lives>,
    /// As what etcd was let go.
    pub(crate) bootstrap: Option<Beginning>,
    /// Whether etcd ever was a healthy member since.
    pub(crate) healthy: bool,
}

impl Past {
    /// From the journal.
    pub(crate) fn of(journal: &Journal) -> Self {
        let mut past = Self::default();
        for entry in &journal.entries {
            match &entry.event {
                Event::Without { names } => {
                    past.without.clone_from(names);
                    past.nonce = None;
                }
                Event::Life { nonce } => {
                    past.nonce = Some(*nonce);
                    past.ready.clear();
                }
                Event::Ready { lives } => past.ready.push(lives.clone()),
                Event::Bootstrap { token, members } => {
                    past.bootstrap = Some(Beginning { token: token.clone(), members: members.clone() });
                }
                Event::Healthy { .. } => past.healthy = true,
                Event::Accepted { .. } | Event::Aside { .. } => {}
            }
        }
        past
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
            epochs: epochs.iter().map(|lives| Epoch::new(cluster, lives.clone())).collect(),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its data is there: etcd runs on it, and heeds no word on how to begin.
    Member(Beginning),
    /// Power was lost while etcd made its first data, or before: etcd begins again, as it was to. What lies there, if
    /// anything does, is put aside.
    Again { beginning: Beginning, aside: bool },
    /// Nothing has begun. `life` is the one to go on with; none: a new one.
    Empty { life: Option<Nonce> },
    /// It was a member, and its data is lost.
    Lost,
    /// Data that is not known, and is not touched.
    Unknown(&'static str),
}

/// The rule. A data directory that the journal does not know is never touched, and one that has been a member's for
/// as long as a vote can take never begins anew.
pub(crate) fn standing(past: &Past, data: Data, volume: Volume) -> Standing {
    match (&past.bootstrap, data, volume) {
        (None, Data::Empty, _) => Standing::Empty { life: past.nonce.filter(|_| volume == Volume::Known) },
        (None, ..) => Standing::Unknown("holds data that firstboot did not put there"),
        (Some(_), Data::Whole, Volume::Other) => Standing::Unknown("is on the volume of another disk's life"),
        // Without the mark it may be a volume that somebody copied by hand; etcd itself knows whose the data is.
        (Some(beginning), Data::Whole, Volume::Known | Volume::Unmarked) => Standing::Member(beginning.clone()),
        (Some(beginning), data, Volume::Known) if !past.healthy => {
            Standing::Again { beginning: beginning.clone(), aside: data == Data::HalfBorn }
        }
        (Some(_), Data::Empty, _) => Standing::Lost,
        (Some(_), Data::HalfBorn, _) => {
            Standing::Unknown("has no write-ahead log, though etcd was a healthy member on it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_keeps_data_and_votes() {
        let beginning = Beginning { token: "t".into(), members: BTreeSet::new() };
        for bootstrap in [None, Some(beginning.clone())] {
            for nonce in [None, Some(Nonce::of(1))] {
                for healthy in [false, true] {
                    for data in [Data::Empty, Data::HalfBorn, Data::Whole] {
                        for volume in [Volume::Known, Volume::Other, Volume::Unmarked] {
                            let bootstrap = bootstrap.clone();
                            let past = Past { nonce, bootstrap, healthy, ..Past::default() };
                            check(&past, data, volume);
                        }
                    }
                }
            }
        }
    }

    fn check(past: &Past, data: Data, volume: Volume) {
        let what = standing(past, data, volume);
        let said = format!("{what:?} from {past:?}, {data:?}, {volume:?}");
        match what {
            Standing::Member(_) => assert!(past.bootstrap.is_some() && data == Data::Whole, "{said}"),
            Standing::Again { aside, .. } => {
                let never_voted = data != Data::Whole && !past.healthy && volume == Volume::Known;
                assert!(past.bootstrap.is_some() && never_voted, "{said}");
                assert_eq!(aside, data == Data::HalfBorn, "{said}");
            }
            Standing::Empty { life } => {
                assert!(past.bootstrap.is_none() && data == Data::Empty, "{said}");
                assert!(life.is_none() || (volume == Volume::Known && life == past.nonce), "{said}");
            }
            Standing::Lost => assert!(past.bootstrap.is_some() && data == Data::Empty, "{said}"),
            Standing::Unknown(_) => assert_ne!(data, Data::Empty, "{said}"),
        }
    }
}
