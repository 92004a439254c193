//! Tests every way in which data can differ from what etcd left.

use super::super::inode::{Directories, Inode};
use super::super::log::Log;
use super::*;
use crate::domain::DiskId;
use crate::reason::ReasonId;

const LOG: Log = Log {
    member: 7,
    cluster: 9,
    term: 3,
    vote: 8,
    commit: 20,
    last: 22,
    checksum: 5,
};

fn directories(numbers: [u64; 4]) -> Directories {
    let [data, member, snap, wal] = numbers.map(Inode::numbered);
    Directories {
        data,
        member,
        snap,
        wal,
    }
}

fn expected() -> Expected {
    let known = Known {
        directories: directories([1, 2, 3, 4]),
        member: 7,
        cluster: 9,
    };
    Expected {
        life: Some(DiskId::of(1)),
        made: Some(Inode::numbered(1)),
        known: Some(known),
        ids: known.ids(),
    }
}

/// Returns data exactly as etcd left it.
fn left() -> Seen {
    Seen {
        contents: Contents::Log,
        data: Some(Inode::numbered(1)),
        directories: Some(directories([1, 2, 3, 4])),
        log: Ok(LOG),
        applied: Ok(20),
    }
}

fn lost(seen: &Seen) -> Lost {
    match judge(&expected(), seen, None) {
        Verdict::Lost(lost) => lost,
        verdict => panic!("{verdict:?} of {seen:?}"),
    }
}

#[test]
fn what_etcd_left_is_intact() {
    assert_eq!(judge(&expected(), &left(), None), Verdict::Intact);
    assert_eq!(
        judge(
            &expected(),
            &Seen {
                applied: Ok(0),
                ..left()
            },
            None
        ),
        Verdict::Intact,
        "a database may lag behind"
    );
}

fn id(seen: &Seen) -> Option<ReasonId> {
    lost(seen).reason().id
}

#[test]
fn emptied_and_incomplete_data_is_lost() {
    let gone = || Err("it is missing".to_owned());
    let empty = Seen {
        contents: Contents::Empty,
        data: None,
        directories: None,
        log: gone_log(),
        applied: gone(),
    };
    assert_eq!(lost(&empty), Lost::Emptied);
    assert_eq!(
        lost(&Seen {
            data: Some(Inode::numbered(1)),
            ..empty.clone()
        }),
        Lost::Emptied
    );
    let no_log = Seen {
        contents: Contents::NoLog,
        log: gone_log(),
        ..left()
    };
    assert_eq!(id(&no_log), Some(ReasonId::DataIncomplete));
    assert_eq!(
        id(&Seen {
            directories: None,
            ..left()
        }),
        Some(ReasonId::DataIncomplete)
    );
    assert_eq!(
        id(&Seen {
            applied: gone(),
            ..left()
        }),
        Some(ReasonId::DataIncomplete)
    );
}

#[test]
fn exchanged_foreign_and_older_data_is_lost() {
    for (at, path) in [
        (0, "data"),
        (1, "data/member"),
        (2, "data/member/snap"),
        (3, "data/member/wal"),
    ] {
        let mut numbers = [1, 2, 3, 4];
        numbers[at] = 99;
        assert_eq!(
            lost(&Seen {
                directories: Some(directories(numbers)),
                ..left()
            }),
            Lost::Exchanged(path)
        );
    }
    for log in [Log { member: 8, ..LOG }, Log { cluster: 8, ..LOG }] {
        assert_eq!(
            id(&Seen {
                log: Ok(log),
                ..left()
            }),
            Some(ReasonId::DataForeign)
        );
    }
    assert_eq!(
        id(&Seen {
            applied: Ok(23),
            ..left()
        }),
        Some(ReasonId::DataBehind),
        "a file of the log was removed"
    );
}

fn gone_log() -> Result<Log, String> {
    Err("it is missing".to_owned())
}

#[test]
fn a_log_that_is_behind_what_was_written_down_is_lost() {
    let now = |log: Log| Seen {
        log: Ok(log),
        applied: Ok(0),
        ..left()
    };
    let starting = Progress::starting(DiskId::of(1), LOG);
    let follows =
        |progress: &Progress, log| judge(&expected(), &now(log), Some(progress)) == Verdict::Intact;
    assert!(follows(&starting, LOG));
    assert!(follows(
        &starting,
        Log {
            term: 4,
            vote: 0,
            commit: 30,
            last: 30,
            checksum: 1,
            ..LOG
        }
    ));
    // A new leader may have replaced entries that were not committed.
    assert!(follows(
        &starting,
        Log {
            term: 4,
            last: 20,
            ..LOG
        }
    ));
    for log in [
        Log { term: 2, ..LOG },
        Log { commit: 19, ..LOG },
        Log { last: 19, ..LOG },
    ] {
        assert!(!follows(&starting, log), "{log:?}");
    }
    let stopped = starting.stopped(LOG).unwrap();
    assert!(follows(&stopped, LOG));
    for log in [
        Log { term: 4, ..LOG },
        Log { vote: 0, ..LOG },
        Log { commit: 21, ..LOG },
        Log { last: 21, ..LOG },
        Log { checksum: 6, ..LOG },
    ] {
        assert!(
            !follows(&stopped, log),
            "after a stop nothing writes: {log:?}"
        );
    }
    assert_eq!(stopped.stopped(LOG), None, "etcd has not run since");
    assert_eq!(
        starting.stopped(Log { commit: 1, ..LOG }),
        None,
        "etcd cannot have left that"
    );
}

#[test]
fn a_first_start_is_told_from_data_that_was_removed() {
    let made = Expected {
        known: None,
        ..expected()
    };
    let empty = Seen {
        contents: Contents::Empty,
        directories: None,
        log: gone_log(),
        ..left()
    };
    let half = Seen {
        contents: Contents::NoLog,
        ..empty.clone()
    };
    assert_eq!(judge(&made, &empty, None), Verdict::Fresh);
    assert_eq!(judge(&made, &half, None), Verdict::CutShort);
    assert!(
        matches!(judge(&made, &left(), None), Verdict::Begun(known) if known == expected().known.unwrap())
    );
    for other in [None, Some(Inode::numbered(5))] {
        let seen = Seen {
            data: other,
            ..empty.clone()
        };
        assert_eq!(judge(&made, &seen, None), Verdict::Lost(Lost::Emptied));
    }
    let seen = Seen {
        data: Some(Inode::numbered(5)),
        ..left()
    };
    assert_eq!(
        judge(&made, &seen, None),
        Verdict::Lost(Lost::Exchanged("data"))
    );
    let foreign = Seen {
        log: Ok(Log { member: 8, ..LOG }),
        ..left()
    };
    assert_eq!(
        judge(&made, &foreign, None),
        Verdict::Lost(Lost::Foreign {
            member: 8,
            cluster: 9
        })
    );
}

#[test]
fn a_journal_of_an_earlier_version_goes_by_the_ids() {
    let old = Expected {
        made: None,
        known: None,
        ..expected()
    };
    assert!(matches!(judge(&old, &left(), None), Verdict::Begun(_)));
    let foreign = Seen {
        log: Ok(Log { cluster: 8, ..LOG }),
        ..left()
    };
    assert_eq!(
        judge(&old, &foreign, None),
        Verdict::Lost(Lost::Foreign {
            member: 7,
            cluster: 8
        })
    );
    assert!(
        matches!(
            judge(&Expected::default(), &foreign, None),
            Verdict::Begun(_)
        ),
        "none are known"
    );
}
