//! What the journal and etcd's volume together say of this disk, and what follows from it.

use std::collections::BTreeSet;

use recipes::{ClusterDocument, Label};

use super::decide::Memory;
use super::epoch::{Epoch, Lives, Nonce};
use super::volume::{Data, Volume};
use crate::journal::{Event, Journal};
use crate::steps::etcd_conf::Start;

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
    /// The cluster it was a healthy member of.
    pub(crate) cluster: Option<u64>,
    /// Whether etcd ever was a healthy member since.
    pub(crate) healthy: bool,
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
                    let Self { without, agreed, .. } = past;
                    past = Self { nonce: Some(*nonce), without, agreed, ..Self::default() };
                }
                Event::Ready { lives } => {
                    past.ready.push(lives.clone());
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
                | Event::Promote { .. } => {}
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
    Member(Start),
    /// Power was lost while etcd made its first data, or before: etcd begins again, as it was to. What lies there, if
    /// anything does, is put aside.
    Again { start: Start, aside: bool },
    /// There is no data, or none that etcd ever used or will use again. `life` is the one to go on with; none: a new one.
    Empty { life: Option<Nonce>, aside: bool },
    /// Data that is not known, and is not touched.
    Unknown(&'static str),
}

/// The rule. A data directory that the journal does not know is never touched; one that etcd may have voted with never
/// begins anew as the same member.
pub(crate) fn standing(past: &Past, data: Data, volume: Volume) -> Standing {
    match (&past.begun, data, volume) {
        // A new life: what it agreed on in the old one is over.
        (None, Data::Empty, _) if past.word == Word::Rejoin => Standing::Empty { life: None, aside: false },
        (None, _, Volume::Known | Volume::Unmarked) if past.word == Word::Rejoin => {
            Standing::Empty { life: None, aside: true }
        }
        (None, Data::Empty, _) => {
            Standing::Empty { life: past.nonce.filter(|_| volume == Volume::Known), aside: false }
        }
        (None, ..) => Standing::Unknown("holds data that firstboot did not put there"),
        (Some(_), Data::Whole, Volume::Other) => Standing::Unknown("is on the volume of another disk's life"),
        // Without the mark it may be a volume that somebody copied by hand; etcd itself knows whose the data is.
        (Some(start), Data::Whole, Volume::Known | Volume::Unmarked) => Standing::Member(start.clone()),
        // Who was to join is added anew: the members may be others by now.
        (Some(start), data, Volume::Known) if !past.healthy && start.state == "existing" => {
            Standing::Empty { life: None, aside: data == Data::HalfBorn }
        }
        (Some(start), data, Volume::Known) if !past.healthy => {
            Standing::Again { start: start.clone(), aside: data == Data::HalfBorn }
        }
        // It was a member, and its data is lost. What lives of its cluster takes it in again.
        (Some(_), Data::Empty, _) => Standing::Empty { life: None, aside: false },
        (Some(_), Data::HalfBorn, _) => Standing::Unknown("has no write-ahead log, though etcd was a member on it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_keeps_data_and_votes() {
        let start = |state| Some(Start { state, token: "t".into(), members: vec![] });
        for begun in [None, start("new"), start("existing")] {
            for nonce in [None, Some(Nonce::of(1))] {
                for healthy in [false, true] {
                    for data in [Data::Empty, Data::HalfBorn, Data::Whole] {
                        for volume in [Volume::Known, Volume::Other, Volume::Unmarked] {
                            let begun = begun.clone();
                            check(&Past { nonce, begun, healthy, ..Past::default() }, data, volume);
                            rejoins(&Past { nonce, word: Word::Rejoin, ..Past::default() }, data, volume);
                        }
                    }
                }
            }
        }
    }

    fn rejoins(past: &Past, data: Data, volume: Volume) {
        let expected = match (data, volume) {
            (Data::Whole | Data::HalfBorn, Volume::Other) => {
                assert!(matches!(standing(past, data, volume), Standing::Unknown(_)));
                return;
            }
            _ => Standing::Empty { life: None, aside: data != Data::Empty },
        };
        assert_eq!(standing(past, data, volume), expected, "{past:?}, {data:?}, {volume:?}");
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

    fn check(past: &Past, data: Data, volume: Volume) {
        let what = standing(past, data, volume);
        let said = format!("{what:?} from {past:?}, {data:?}, {volume:?}");
        let never_voted = data != Data::Whole && !past.healthy && volume == Volume::Known;
        match what {
            Standing::Member(_) => assert!(past.begun.is_some() && data == Data::Whole, "{said}"),
            Standing::Again { aside, start } => {
                assert!(never_voted && start.state == "new" && past.begun == Some(start), "{said}");
                assert_eq!(aside, data == Data::HalfBorn, "{said}");
            }
            Standing::Empty { life, aside } => {
                assert!(data == Data::Empty || aside && never_voted, "{said}");
                let goes_on = past.begun.is_none() && volume == Volume::Known && life == past.nonce;
                assert!(life.is_none() || goes_on, "{said}");
            }
            Standing::Unknown(_) => assert_ne!(data, Data::Empty, "{said}"),
        }
    }
}
