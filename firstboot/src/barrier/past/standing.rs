//! What the journal and etcd's volume together say of this disk, and what follows from it.

use super::{Past, Word};
use crate::barrier::epoch::Nonce;
use crate::barrier::volume::{Data, Volume};
use crate::steps::etcd_conf::Start;

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
