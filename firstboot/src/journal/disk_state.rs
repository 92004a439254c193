//! Classifies the disk according to the journal and to the content of etcd's volume.

use super::disk_id_file::DiskIdMatch;
use super::state::{MembershipIntent, NodeState};
use crate::data::{Contents, DataCheck, DataIdentity, UnusableData};
use crate::domain::{DiskId, InitialCluster};
use crate::reason::{Reason, ReasonId};

/// The state of the disk, which determines how etcd starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiskState {
    /// The member's data exists, so etcd uses it and ignores the `initial-cluster` settings.
    /// `new_identity` is the identity to record in the journal, if the journal does not contain it
    /// yet.
    Existing {
        start: InitialCluster,
        new_identity: Option<DataIdentity>,
    },
    /// etcd's first start was interrupted before etcd had created its WAL, so etcd starts again
    /// with the same parameters. `has_data_to_archive` is set if the interrupted start left data.
    RetryFirstStart {
        start: InitialCluster,
        has_data_to_archive: bool,
    },
    /// There is no data that etcd can use. `disk_id` is the id to keep, or `None` if firstboot must
    /// generate a new id.
    NoData {
        disk_id: Option<DiskId>,
        has_data_to_archive: bool,
    },
    /// This node has a member, but etcd must not start as that member with the current data.
    UnusableData(UnusableData),
    /// The disk contains data that the journal does not record. firstboot never touches unrecorded
    /// data.
    UnrecordedData(UnrecordedData),
}

/// The reason why the data cannot be attributed to this disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnrecordedData {
    /// According to the journal, firstboot has never started etcd on this disk.
    NeverStarted,
    OtherVolume,
    /// etcd's first start may have been interrupted, and the volume has no disk id.
    NoDiskId,
}

impl UnrecordedData {
    pub(crate) fn reason(self) -> Reason {
        let (id, what) = match self {
            Self::NeverStarted => (
                ReasonId::DataUnknown,
                "the journal has no record of this data",
            ),
            Self::OtherVolume => (
                ReasonId::DataOtherVolume,
                "the data is on the volume of another disk",
            ),
            Self::NoDiskId => (
                ReasonId::DataUnmarked,
                "the data has no write-ahead log, and its volume does not contain the id of this \
                disk",
            ),
        };
        id.because(format!(
            "{what}, so firstboot does not touch the data. If the data is not needed, move it away"
        ))
    }
}

/// Classifies the disk. firstboot touches an unrecorded data directory only if an operator ordered
/// the node to join again. If a member may have voted with data that is now lost, etcd never starts
/// again as that member.
pub(crate) fn classify_disk(
    state: &NodeState,
    contents: Contents,
    check: DataCheck,
    disk_id_match: DiskIdMatch,
) -> DiskState {
    let Some(start) = &state.initial_cluster else {
        return classify_unstarted_disk(state, contents, disk_id_match);
    };
    if disk_id_match == DiskIdMatch::Differs && contents == Contents::HasWal {
        return DiskState::UnrecordedData(UnrecordedData::OtherVolume);
    }
    let first_start = !state.was_healthy && disk_id_match == DiskIdMatch::Matches;
    match check {
        DataCheck::Intact => DiskState::Existing {
            start: start.clone(),
            new_identity: None,
        },
        DataCheck::IntactUnrecorded(known) => DiskState::Existing {
            start: start.clone(),
            new_identity: Some(known),
        },
        // The node was about to join its cluster, or its restored data was lost before etcd first
        // started. Add the node as a new member, because the member list may have changed.
        DataCheck::Unused | DataCheck::Incomplete if first_start && start.state == "existing" => {
            DiskState::NoData {
                disk_id: None,
                has_data_to_archive: contents == Contents::NoWal,
            }
        }
        DataCheck::Unused | DataCheck::Incomplete if first_start => DiskState::RetryFirstStart {
            start: start.clone(),
            has_data_to_archive: contents == Contents::NoWal,
        },
        // This node may have been a member, but its data is lost, so the node joins its cluster
        // again as a new member.
        DataCheck::Unused | DataCheck::Unusable(UnusableData::Deleted) => DiskState::NoData {
            disk_id: None,
            has_data_to_archive: false,
        },
        _ if disk_id_match == DiskIdMatch::Differs => {
            DiskState::UnrecordedData(UnrecordedData::OtherVolume)
        }
        DataCheck::Incomplete if !state.was_healthy => {
            DiskState::UnrecordedData(UnrecordedData::NoDiskId)
        }
        DataCheck::Incomplete => DiskState::UnusableData(UnusableData::MissingPart(
            "member/wal is missing".to_owned(),
        )),
        DataCheck::Unusable(why) => DiskState::UnusableData(why),
    }
}

/// Classifies a disk on which etcd was never started, or whose node joins its cluster again.
fn classify_unstarted_disk(
    state: &NodeState,
    contents: Contents,
    disk_id_match: DiskIdMatch,
) -> DiskState {
    match (contents, disk_id_match) {
        // Generate a new disk id, because agreements in which the node used its old id are no
        // longer valid.
        (Contents::Empty, _) if state.intent == MembershipIntent::Rejoining => DiskState::NoData {
            disk_id: None,
            has_data_to_archive: false,
        },
        (_, DiskIdMatch::Matches | DiskIdMatch::Missing)
            if state.intent == MembershipIntent::Rejoining =>
        {
            DiskState::NoData {
                disk_id: None,
                has_data_to_archive: true,
            }
        }
        (Contents::Empty, _) => DiskState::NoData {
            disk_id: state
                .disk_id
                .filter(|_| disk_id_match == DiskIdMatch::Matches),
            has_data_to_archive: false,
        },
        _ => DiskState::UnrecordedData(UnrecordedData::NeverStarted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Directories, Inode};

    fn known() -> DataIdentity {
        let [data, member, snap, wal] = [1, 2, 3, 4].map(Inode::numbered);
        DataIdentity {
            directories: Directories {
                data,
                member,
                snap,
                wal,
            },
            member: 7,
            cluster: 9,
        }
    }

    /// Returns the possible results of the data check if etcd's data directory has these contents.
    fn checks(contents: Contents) -> Vec<DataCheck> {
        let replaced = DataCheck::Unusable(UnusableData::Replaced("data"));
        match contents {
            Contents::Empty => vec![
                DataCheck::Unused,
                DataCheck::Unusable(UnusableData::Deleted),
            ],
            Contents::NoWal => vec![
                DataCheck::Incomplete,
                replaced,
                DataCheck::Unusable(UnusableData::MissingPart("x".into())),
            ],
            Contents::HasWal => vec![
                DataCheck::Intact,
                DataCheck::IntactUnrecorded(known()),
                replaced,
            ],
        }
    }

    #[test]
    fn no_combination_of_facts_loses_data_or_votes() {
        let start = |state| {
            Some(InitialCluster {
                state,
                token: "t".into(),
                members: vec![],
            })
        };
        for begun in [None, start("new"), start("existing")] {
            for disk_id in [None, Some(DiskId::of(1))] {
                for was_healthy in [false, true] {
                    for contents in [Contents::Empty, Contents::NoWal, Contents::HasWal] {
                        for disk_id_match in [
                            DiskIdMatch::Matches,
                            DiskIdMatch::Differs,
                            DiskIdMatch::Missing,
                        ] {
                            let state = NodeState {
                                disk_id,
                                initial_cluster: begun.clone(),
                                was_healthy,
                                ..NodeState::default()
                            };
                            for check in checks(contents) {
                                assert_safe(&state, contents, &check, disk_id_match);
                            }
                            rejoins(
                                &NodeState {
                                    disk_id,
                                    intent: MembershipIntent::Rejoining,
                                    ..NodeState::default()
                                },
                                contents,
                                disk_id_match,
                            );
                        }
                    }
                }
            }
        }
    }

    fn rejoins(state: &NodeState, contents: Contents, disk_id_match: DiskIdMatch) {
        for check in checks(contents) {
            let disk_state = classify_disk(state, contents, check, disk_id_match);
            if contents != Contents::Empty && disk_id_match == DiskIdMatch::Differs {
                assert!(
                    matches!(disk_state, DiskState::UnrecordedData(_)),
                    "{disk_state:?}"
                );
            } else {
                assert_eq!(
                    disk_state,
                    DiskState::NoData {
                        disk_id: None,
                        has_data_to_archive: contents != Contents::Empty
                    }
                );
            }
        }
    }

    fn assert_safe(
        state: &NodeState,
        contents: Contents,
        check: &DataCheck,
        disk_id_match: DiskIdMatch,
    ) {
        let what = classify_disk(state, contents, check.clone(), disk_id_match);
        let said = format!("{what:?} from {state:?}, {contents:?}, {check:?}, {disk_id_match:?}");
        let never_voted = matches!(check, DataCheck::Unused | DataCheck::Incomplete)
            && !state.was_healthy
            && disk_id_match == DiskIdMatch::Matches;
        match what {
            DiskState::Existing { .. } => {
                let whole = matches!(check, DataCheck::Intact | DataCheck::IntactUnrecorded(_));
                assert!(
                    state.initial_cluster.is_some()
                        && whole
                        && disk_id_match != DiskIdMatch::Differs,
                    "{said}"
                );
            }
            DiskState::RetryFirstStart {
                has_data_to_archive,
                start,
            } => {
                assert!(
                    never_voted && start.state == "new" && state.initial_cluster == Some(start),
                    "{said}"
                );
                assert_eq!(has_data_to_archive, contents == Contents::NoWal, "{said}");
            }
            DiskState::NoData {
                disk_id,
                has_data_to_archive,
            } => {
                assert!(
                    contents == Contents::Empty || has_data_to_archive && never_voted,
                    "{said}"
                );
                let goes_on = state.initial_cluster.is_none()
                    && disk_id_match == DiskIdMatch::Matches
                    && disk_id == state.disk_id;
                assert!(disk_id.is_none() || goes_on, "{said}");
            }
            DiskState::UnusableData(_) => {
                assert!(
                    state.initial_cluster.is_some()
                        && contents != Contents::Empty
                        && disk_id_match != DiskIdMatch::Differs,
                    "{said}"
                );
                assert!(
                    !matches!(check, DataCheck::Intact | DataCheck::IntactUnrecorded(_)),
                    "{said}"
                );
            }
            DiskState::UnrecordedData(_) => assert_ne!(contents, Contents::Empty, "{said}"),
        }
    }
}
