//! Stable ids for the reasons why firstboot refuses, waits or warns. The wording of a message can
//! change at any time, but its id does not. The id appears in brackets at the end of the message,
//! and docs/exit-codes.md explains each id.

use std::fmt;

use clap::ValueEnum;
use serde::{Serialize, Serializer};

/// The id of a reason. `clap` derives the kebab-case spelling: `DataMoved` becomes `data-moved`.
#[expect(missing_docs, reason = "docs/exit-codes.md explains each id")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReasonId {
    // Reasons about the image and the identity of the machine.
    ImageIncomplete,
    ImageAltered,
    ImageUnchecked,
    DocumentMissing,
    DocumentRefused,
    DocumentOutdated,
    DocumentOtherKey,
    CertificatesAwaited,
    EnrolmentRefused,
    OwnKeysDamaged,
    DiskOfAnotherNode,
    MachineCopied,
    CertificateRefused,
    CertificateNotYetValid,
    CertificateExpired,
    CertificateExpiring,
    RenewalFailed,
    RenewalNoServer,
    CertificateNotPresented,
    CaNameClash,
    JournalDamaged,
    FirstbootBusy,

    // Reasons that concern the machine's network.
    AddressMissing,
    AddressWrong,
    InterfaceMissing,
    InterfaceAmbiguous,
    WrongSourceAddress,
    PeerPortInUse,

    // Reasons about a second machine with the same identity.
    AddressInUse,
    DuplicateSuspected,
    DuplicateRunning,
    DuplicateUnconfirmed,

    // Reasons about etcd's data directory.
    DataEmptied,
    DataIncomplete,
    DataExchanged,
    DataForeign,
    DataBehind,
    DataUnknown,
    DataOtherVolume,
    DataUnmarked,
    DataMoved,
    DataNotJudged,
    DataNotAcceptable,

    // Reasons about the bootstrap barrier.
    MembersNotReady,
    ExclusionTooLate,
    ExclusionRefused,
    OrdersDiffer,
    OrderWithdrawn,
    OrderMissing,

    // Reasons about joining, leaving and the other members.
    NoQuorum,
    MembersUnhealthy,
    ClustersDiffer,
    AnotherCluster,
    WrongResponder,
    MemberListsDiffer,
    MemberAmbiguous,
    LearnerPending,
    EtcdVersion,
    ClockOff,
    DiskFull,
    EtcdCallFailed,
    LastVoter,
    NotAMember,
    StillAMember,
    MemberLeft,
    MemberRemoved,
    LeaveTimeout,

    // Reasons about replacing a CA.
    CaNotTrusted,
    CertificatesOutdated,
    CaInUse,

    // Reasons about etcd on this node.
    EtcdNotStarted,
    EtcdUnhealthy,
    EtcdEnded,
    EtcdMasked,
    EtcdDropIn,

    // Reasons that `status` reports.
    AlarmNospace,
    AlarmCorrupt,
    MembersDiffer,
    MemberNeverStarted,
    MemberNotListed,
    PeerUrl,
    RoundTripLong,

    // Reasons about snapshots.
    SnapshotInvalid,
    SnapshotLocked,
    SnapshotFormat,
    SnapshotInUse,
    SnapshotExists,
    SnapshotNotFound,
    SnapshotName,
    SnapshotInterrupted,
    SnapshotOverdue,
    SnapshotUnrecorded,
    BackupNotConfigured,
    StoreUnreachable,
    StoreDenied,
    StoreKeys,
    DecryptionKeys,
    TrialFailed,
    TrialTimeout,

    // Reasons of `restore`.
    RestoreUnfinished,
    RestoreCancelled,
    RestoreBinding,
    RestoreSource,
    ArchiveUnusable,

    // Reasons of `update`.
    UpdateNoSource,
    UpdateRelease,
    UpdateAltered,
    UpdateOlder,
    UpdateBase,
    UpdateBaseUnknown,
    UpdateMinor,
    UpdateTrust,
    UpdateNode,
    UpdateNoWayBack,
    UpdateNotSetUp,
    UpdateNotHealthy,
    UpdateRotation,
    UpdateClock,
    UpdateNoSnapshot,
    UpdateNoRoom,
    UpdateHalted,
    UpdateTurn,
    UpdateBusy,
    UpdateFailedBefore,
    UpdateManual,
    UpdateWindow,
    UpdateTakenBack,
    UpdateReboot,
    UpdateDowngrade,
    UpdateKept,
    UpdateWipes,
    UpdateNoServer,
    UpdateInstallRefused,
    UpdateNotInstalled,
    UpdateDeadline,
    UpdateReplaced,
}

impl ReasonId {
    /// Returns a reason with this id and this text.
    pub fn because(self, text: impl Into<String>) -> Reason {
        Reason {
            id: Some(self),
            text: text.into(),
        }
    }
}

impl fmt::Display for ReasonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value()
            .map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl Serialize for ReasonId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The reason why firstboot refuses, waits or warns. The `Display` output of a reason ends with the
/// id in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The reason's id, or `None` for a message without an id, such as an error from etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ReasonId>,
    /// The event, its cause, and the remedy.
    pub text: String,
}

impl Reason {
    /// Parses the text of a reason and its id. Text that does not end with a known id has no id.
    pub fn parse(line: &str) -> Self {
        let known = line
            .strip_suffix(']')
            .and_then(|rest| rest.rsplit_once(" ["));
        let known = known.and_then(|(text, id)| Some((text, ReasonId::from_str(id, false).ok()?)));
        match known {
            Some((text, id)) => id.because(text),
            None => line.into(),
        }
    }

    /// Returns the same reason with a different text.
    #[must_use]
    pub fn map(self, text: impl FnOnce(&str) -> String) -> Self {
        Self {
            text: text(&self.text),
            ..self
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.id.map_or(Ok(()), |id| write!(f, " [{id}]"))
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self { id: None, text }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::documented;

    #[test]
    fn the_documentation_lists_exactly_the_ids_that_exist() {
        let ids = ReasonId::value_variants().iter().map(ToString::to_string);
        assert_eq!(
            documented("exit-codes.md", "Ids of firstboot"),
            ids.collect()
        );
    }

    #[test]
    fn a_message_ends_with_its_id() {
        let reason = ReasonId::DataMoved.because("a drop-in moves etcd's data");
        assert_eq!(
            reason.to_string(),
            "a drop-in moves etcd's data [data-moved]"
        );
        assert_eq!(
            reason.map(|text| format!("{text}. Remove it")).to_string(),
            "a drop-in moves etcd's data. Remove it [data-moved]"
        );
        assert_eq!(Reason::from("no route").to_string(), "no route");
    }

    #[test]
    fn a_message_is_parsed_into_its_text_and_id() {
        for reason in [
            ReasonId::DataMoved.because("a drop-in [of etcd] moves etcd's data"),
            Reason::from("no route [to host]"),
            Reason::from("[data-moved]"),
        ] {
            assert_eq!(Reason::parse(&reason.to_string()), reason);
        }
    }
}
