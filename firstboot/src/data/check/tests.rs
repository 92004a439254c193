//! Tests the ways in which data can differ from what etcd left.

use super::super::inode::{Directories, Inode};
use super::super::wal::WalEnd;
use super::*;
use crate::domain::DiskId;
use crate::reason::ReasonId;

const LOG: WalEnd = WalEnd {
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

fn expected() -> RecordedData {
    let known = DataIdentity {
        directories: directories([1, 2, 3, 4]),
        member: 7,
        cluster: 9,
    };
    RecordedData {
        disk_id: Some(DiskId::of(1)),
        created: Some(Inode::numbered(1)),
        identity: Some(known),
        ids: known.ids(),
    }
}

/// Returns the state of data that is exactly as etcd left it.
fn left() -> DataDirState {
    DataDirState {
        contents: Contents::HasWal,
        data: Some(Inode::numbered(1)),
        directories: Some(directories([1, 2, 3, 4])),
        wal: Ok(LOG),
        applied: Ok(20),
    }
}

fn unusable(seen: &DataDirState) -> UnusableData {
    match check_data(&expected(), seen, None) {
        DataCheck::Unusable(why) => why,
        check => panic!("{check:?} of {seen:?}"),
    }
}

#[test]
fn data_as_etcd_left_it_is_intact() {
    assert_eq!(check_data(&expected(), &left(), None), DataCheck::Intact);
    assert_eq!(
        check_data(
            &expected(),
            &DataDirState {
                applied: Ok(0),
                ..left()
            },
            None
        ),
        DataCheck::Intact,
        "the database may be behind the WAL"
    );
}

fn id(seen: &DataDirState) -> Option<ReasonId> {
    unusable(seen).reason().id
}

#[test]
fn deleted_and_incomplete_data_is_unusable() {
    let gone = || Err("it is missing".to_owned());
    let empty = DataDirState {
        contents: Contents::Empty,
        data: None,
        directories: None,
        wal: gone_log(),
        applied: gone(),
    };
    assert_eq!(unusable(&empty), UnusableData::Deleted);
    assert_eq!(
        unusable(&DataDirState {
            data: Some(Inode::numbered(1)),
            ..empty.clone()
        }),
        UnusableData::Deleted
    );
    let no_log = DataDirState {
        contents: Contents::NoWal,
        wal: gone_log(),
        ..left()
    };
    assert_eq!(id(&no_log), Some(ReasonId::DataIncomplete));
    assert_eq!(
        id(&DataDirState {
            directories: None,
            ..left()
        }),
        Some(ReasonId::DataIncomplete)
    );
    assert_eq!(
        id(&DataDirState {
            applied: gone(),
            ..left()
        }),
        Some(ReasonId::DataIncomplete)
    );
}

#[test]
fn replaced_data_and_older_data_and_data_of_another_member_are_unusable() {
    for (at, path) in [
        (0, "data"),
        (1, "data/member"),
        (2, "data/member/snap"),
        (3, "data/member/wal"),
    ] {
        let mut numbers = [1, 2, 3, 4];
        numbers[at] = 99;
        assert_eq!(
            unusable(&DataDirState {
                directories: Some(directories(numbers)),
                ..left()
            }),
            UnusableData::Replaced(path)
        );
    }
    for wal in [WalEnd { member: 8, ..LOG }, WalEnd { cluster: 8, ..LOG }] {
        assert_eq!(
            id(&DataDirState {
                wal: Ok(wal),
                ..left()
            }),
            Some(ReasonId::DataForeign)
        );
    }
    assert_eq!(
        id(&DataDirState {
            applied: Ok(23),
            ..left()
        }),
        Some(ReasonId::DataBehind),
        "the newest file of the WAL was removed"
    );
}

fn gone_log() -> Result<WalEnd, String> {
    Err("it is missing".to_owned())
}

#[test]
fn a_wal_that_is_behind_the_checkpoint_is_unusable() {
    let now = |wal: WalEnd| DataDirState {
        wal: Ok(wal),
        applied: Ok(0),
        ..left()
    };
    let starting = WalCheckpoint::starting(DiskId::of(1), LOG);
    let follows = |checkpoint: &WalCheckpoint, wal| {
        check_data(&expected(), &now(wal), Some(checkpoint)) == DataCheck::Intact
    };
    assert!(follows(&starting, LOG));
    assert!(follows(
        &starting,
        WalEnd {
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
        WalEnd {
            term: 4,
            last: 20,
            ..LOG
        }
    ));
    for wal in [
        WalEnd { term: 2, ..LOG },
        WalEnd { commit: 19, ..LOG },
        WalEnd { last: 19, ..LOG },
    ] {
        assert!(!follows(&starting, wal), "{wal:?}");
    }
    let stopped = starting.stopped(LOG).unwrap();
    assert!(follows(&stopped, LOG));
    for wal in [
        WalEnd { term: 4, ..LOG },
        WalEnd { vote: 0, ..LOG },
        WalEnd { commit: 21, ..LOG },
        WalEnd { last: 21, ..LOG },
        WalEnd { checksum: 6, ..LOG },
    ] {
        assert!(
            !follows(&stopped, wal),
            "the WAL must not change after a stop: {wal:?}"
        );
    }
    assert_eq!(stopped.stopped(LOG), None, "etcd has not run since");
    assert_eq!(
        starting.stopped(WalEnd { commit: 1, ..LOG }),
        None,
        "etcd cannot have left that WAL"
    );
}

#[test]
fn a_wal_with_another_vote_in_the_same_term_is_unusable() {
    let starting = WalCheckpoint::starting(DiskId::of(1), LOG);
    for (term, vote, intact) in [
        (LOG.term, 0, false),
        (LOG.term, LOG.vote + 1, false),
        (LOG.term + 1, LOG.vote + 1, true),
    ] {
        let now = DataDirState {
            wal: Ok(WalEnd { term, vote, ..LOG }),
            applied: Ok(0),
            ..left()
        };
        let check = check_data(&expected(), &now, Some(&starting));
        assert_eq!(
            check == DataCheck::Intact,
            intact,
            "{term} {vote}: {check:?}"
        );
    }
}

#[test]
fn a_first_start_is_distinguished_from_removed_data() {
    let made = RecordedData {
        identity: None,
        ..expected()
    };
    let empty = DataDirState {
        contents: Contents::Empty,
        directories: None,
        wal: gone_log(),
        ..left()
    };
    let half = DataDirState {
        contents: Contents::NoWal,
        ..empty.clone()
    };
    assert_eq!(check_data(&made, &empty, None), DataCheck::Unused);
    assert_eq!(check_data(&made, &half, None), DataCheck::Incomplete);
    assert!(
        matches!(check_data(&made, &left(), None), DataCheck::IntactUnrecorded(known) if known == expected().identity.unwrap())
    );
    for other in [None, Some(Inode::numbered(5))] {
        let seen = DataDirState {
            data: other,
            ..empty.clone()
        };
        assert_eq!(
            check_data(&made, &seen, None),
            DataCheck::Unusable(UnusableData::Deleted)
        );
    }
    let seen = DataDirState {
        data: Some(Inode::numbered(5)),
        ..left()
    };
    assert_eq!(
        check_data(&made, &seen, None),
        DataCheck::Unusable(UnusableData::Replaced("data"))
    );
    let other_member = DataDirState {
        wal: Ok(WalEnd { member: 8, ..LOG }),
        ..left()
    };
    assert_eq!(
        check_data(&made, &other_member, None),
        DataCheck::Unusable(UnusableData::OtherMember {
            member: 8,
            cluster: 9
        })
    );
}

#[test]
fn the_ids_decide_with_a_journal_of_an_earlier_version() {
    let old = RecordedData {
        created: None,
        identity: None,
        ..expected()
    };
    assert!(matches!(
        check_data(&old, &left(), None),
        DataCheck::IntactUnrecorded(_)
    ));
    let other_member = DataDirState {
        wal: Ok(WalEnd { cluster: 8, ..LOG }),
        ..left()
    };
    assert_eq!(
        check_data(&old, &other_member, None),
        DataCheck::Unusable(UnusableData::OtherMember {
            member: 7,
            cluster: 8
        })
    );
    assert!(
        matches!(
            check_data(&RecordedData::default(), &other_member, None),
            DataCheck::IntactUnrecorded(_)
        ),
        "no directories are recorded"
    );
}
