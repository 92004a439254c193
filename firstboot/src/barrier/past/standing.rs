//! What the journal and etcd's volume together say of this disk, and what follows from it.

use std::fmt;

use super::{Past, Word};
use crate::barrier::epoch::Nonce;
use crate::barrier::volume::Volume;
use crate::data::{Contents, Known, Lost, Verdict};
use crate::steps::etcd_conf::Start;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its data is there: etcd runs on it, and heeds no word on how to begin. `begun`: to be written down.
    Member { start: Start, begun: Option<Known> },
    /// Power was lost while etcd made its first data, or before: etcd begins again, as it was to. What lies there, if
    /// anything does, is put aside.
    Again { start: Start, aside: bool },
    /// There is no data, or none that etcd ever used or will use again. `life` is the one to go on with; none: a new one.
    Empty { life: Option<Nonce>, aside: bool },
    /// etcd ran as a member here, and what lies there now must not begin as that member.
    Lost(Lost),
    /// Data that is not known, and is not touched.
    Unknown(Unknown),
}

/// Why data is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// firstboot never let etcd start in this life of the disk.
    Foreign,
    /// The volume is of another life.
    OtherVolume,
    /// etcd's first start may have been cut short; the volume does not say in which life.
    Unmarked,
}

impl Unknown {
    /// A name for programs and documentation.
    fn id(self) -> &'static str {
        match self {
            Self::Foreign => "data-unknown",
            Self::OtherVolume => "data-other-volume",
            Self::Unmarked => "data-unmarked",
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Foreign => "firstboot did not put the data there",
            Self::OtherVolume => "the data is on the volume of another disk",
            Self::Unmarked => "the data has no write-ahead log, and its volume has no mark of this disk",
        };
        write!(f, "{what}, so firstboot leaves it alone. If it is not needed, move it away [{}]", self.id())
    }
}

/// The rule. A data directory that the journal does not know is never touched; one that etcd may have voted with never
/// begins anew as the same member.
pub(crate) fn standing(past: &Past, contents: Contents, verdict: Verdict, volume: Volume) -> Standing {
    let Some(start) = &past.begun else { return before(past, contents, volume) };
    if volume == Volume::Other && contents == Contents::Log {
        return Standing::Unknown(Unknown::OtherVolume);
    }
    let first_start = !past.healthy && volume == Volume::Known;
    match verdict {
        Verdict::Intact => Standing::Member { start: start.clone(), begun: None },
        Verdict::Begun(known) => Standing::Member { start: start.clone(), begun: Some(known) },
        // Who was to join is added anew: the members may be others by now.
        Verdict::Fresh | Verdict::CutShort if first_start && start.state == "existing" => {
            Standing::Empty { life: None, aside: contents == Contents::NoLog }
        }
        Verdict::Fresh | Verdict::CutShort if first_start => {
            Standing::Again { start: start.clone(), aside: contents == Contents::NoLog }
        }
        // It was a member, and its data is lost. What lives of its cluster takes it in again.
        Verdict::Fresh | Verdict::Lost(Lost::Emptied) => Standing::Empty { life: None, aside: false },
        _ if volume == Volume::Other => Standing::Unknown(Unknown::OtherVolume),
        Verdict::CutShort if !past.healthy => Standing::Unknown(Unknown::Unmarked),
        Verdict::CutShort => Standing::Lost(Lost::Part("member/wal is not there".to_owned())),
        Verdict::Lost(why) => Standing::Lost(why),
    }
}

/// Where etcd was never let go in this life.
fn before(past: &Past, contents: Contents, volume: Volume) -> Standing {
    match (contents, volume) {
        // A new life: what it agreed on in the old one is over.
        (Contents::Empty, _) if past.word == Word::Rejoin => Standing::Empty { life: None, aside: false },
        (_, Volume::Known | Volume::Unmarked) if past.word == Word::Rejoin => {
            Standing::Empty { life: None, aside: true }
        }
        (Contents::Empty, _) => Standing::Empty { life: past.nonce.filter(|_| volume == Volume::Known), aside: false },
        _ => Standing::Unknown(Unknown::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Directories, Inode};

    fn known() -> Known {
        let [data, member, snap, wal] = [1, 2, 3, 4].map(Inode::numbered);
        Known { directories: Directories { data, member, snap, wal }, member: 7, cluster: 9 }
    }

    #[test]
    fn each_reason_is_in_the_manual() {
        let manual = include_str!("../../../../docs/operating.md");
        for unknown in [Unknown::Foreign, Unknown::OtherVolume, Unknown::Unmarked] {
            assert!(manual.contains(&format!("[{}]", unknown.id())), "{unknown}");
        }
    }

    /// The verdicts that there can be on such contents.
    fn verdicts(contents: Contents) -> Vec<Verdict> {
        let exchanged = Verdict::Lost(Lost::Exchanged("data"));
        match contents {
            Contents::Empty => vec![Verdict::Fresh, Verdict::Lost(Lost::Emptied)],
            Contents::NoLog => vec![Verdict::CutShort, exchanged, Verdict::Lost(Lost::Part("x".into()))],
            Contents::Log => vec![Verdict::Intact, Verdict::Begun(known()), exchanged],
        }
    }

    #[test]
    fn every_combination_keeps_data_and_votes() {
        let start = |state| Some(Start { state, token: "t".into(), members: vec![] });
        for begun in [None, start("new"), start("existing")] {
            for nonce in [None, Some(Nonce::of(1))] {
                for healthy in [false, true] {
                    for contents in [Contents::Empty, Contents::NoLog, Contents::Log] {
                        for volume in [Volume::Known, Volume::Other, Volume::Unmarked] {
                            let past = Past { nonce, begun: begun.clone(), healthy, ..Past::default() };
                            for verdict in verdicts(contents) {
                                check(&past, contents, &verdict, volume);
                            }
                            rejoins(&Past { nonce, word: Word::Rejoin, ..Past::default() }, contents, volume);
                        }
                    }
                }
            }
        }
    }

    fn rejoins(past: &Past, contents: Contents, volume: Volume) {
        for verdict in verdicts(contents) {
            let standing = standing(past, contents, verdict, volume);
            if contents != Contents::Empty && volume == Volume::Other {
                assert!(matches!(standing, Standing::Unknown(_)), "{standing:?}");
            } else {
                assert_eq!(standing, Standing::Empty { life: None, aside: contents != Contents::Empty });
            }
        }
    }

    fn check(past: &Past, contents: Contents, verdict: &Verdict, volume: Volume) {
        let what = standing(past, contents, verdict.clone(), volume);
        let said = format!("{what:?} from {past:?}, {contents:?}, {verdict:?}, {volume:?}");
        let never_voted =
            matches!(verdict, Verdict::Fresh | Verdict::CutShort) && !past.healthy && volume == Volume::Known;
        match what {
            Standing::Member { .. } => {
                let whole = matches!(verdict, Verdict::Intact | Verdict::Begun(_));
                assert!(past.begun.is_some() && whole && volume != Volume::Other, "{said}");
            }
            Standing::Again { aside, start } => {
                assert!(never_voted && start.state == "new" && past.begun == Some(start), "{said}");
                assert_eq!(aside, contents == Contents::NoLog, "{said}");
            }
            Standing::Empty { life, aside } => {
                assert!(contents == Contents::Empty || aside && never_voted, "{said}");
                let goes_on = past.begun.is_none() && volume == Volume::Known && life == past.nonce;
                assert!(life.is_none() || goes_on, "{said}");
            }
            Standing::Lost(_) => {
                assert!(past.begun.is_some() && contents != Contents::Empty && volume != Volume::Other, "{said}");
                assert!(!matches!(verdict, Verdict::Intact | Verdict::Begun(_)), "{said}");
            }
            Standing::Unknown(_) => assert_ne!(contents, Contents::Empty, "{said}"),
        }
    }
}
