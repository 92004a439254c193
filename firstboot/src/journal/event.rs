//! Defines the events of the journal. The serialized names of the events are part of a file format,
//! because nodes read journals that earlier versions wrote.

use std::collections::BTreeSet;
use std::path::PathBuf;

use recipes::{EtcdVersion, Label, Sha256};
use serde::{Deserialize, Serialize};

use crate::data::{DataIdentity, Inode};
use crate::domain::{BootstrapMode, CaSubject, DiskId, Nonce, Nonces};
use crate::files::FileFingerprint;
use crate::machine::Machine;

/// One event. firstboot records a decision before it acts on the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Event {
    /// This machine accepted the identity in a node document, or the hardware has changed since the
    /// machine accepted this identity.
    #[serde(rename = "accepted")]
    IdentityAccepted {
        name: Label,
        /// The identifiers of the machine.
        machine: Machine,
    },
    /// The operator ordered that the cluster be bootstrapped without these members.
    #[serde(rename = "without")]
    MembersExcluded { names: BTreeSet<Label> },
    /// firstboot generated a new disk id.
    #[serde(rename = "life")]
    DiskIdDrawn {
        #[serde(rename = "nonce")]
        disk_id: DiskId,
    },
    /// This node has accepted a proposal, because all members that take part have reported the
    /// proposal's nonces. The node announces the acceptance next.
    #[serde(rename = "ready")]
    ProposalAccepted {
        /// The nonces of all members that take part and have not already rolled back.
        #[serde(rename = "lives")]
        nonces: Nonces,
        /// Whether the members bootstrap a new cluster, restore a snapshot or roll back.
        #[serde(
            rename = "task",
            default,
            skip_serializing_if = "BootstrapMode::is_new"
        )]
        mode: BootstrapMode,
    },
    /// An etcd of this version is about to use the data.
    #[serde(rename = "uses")]
    EtcdVersionRecorded { etcd: EtcdVersion },
    /// This node starts as an initial member of a new cluster with this token.
    Bootstrap {
        /// etcd's `initial-cluster-token`.
        token: String,
        /// The names and peer URLs of the initial members.
        members: Vec<(String, String)>,
    },
    /// firstboot removes the node's old member, whose data is lost.
    Remove { member: u64 },
    /// firstboot adds this node as a learner.
    Add {
        /// The id of the cluster to which firstboot adds the node.
        cluster: u64,
    },
    /// etcd has added this node.
    Added {
        /// The member id that etcd assigned.
        member: u64,
    },
    /// This node joins the cluster to which it was added.
    Join {
        /// etcd's `initial-cluster-token`; a joining member ignores it.
        token: String,
        /// The names and peer URLs of all members, including this node's member.
        members: Vec<(String, String)>,
    },
    /// firstboot created an empty directory for etcd's first start.
    #[serde(rename = "data-made")]
    DataDirCreated { directory: Inode },
    /// etcd has created its WAL, so from now on, these directories are the member's data.
    #[serde(rename = "data-begun")]
    WalCreated(DataIdentity),
    /// The operator confirmed that the data directory contains this member's newest data.
    DataAccepted,
    /// firstboot promotes this node to a voter.
    Promote { member: u64 },
    /// firstboot restarts etcd, so that etcd trusts a different set of CAs.
    Trust {
        /// All CAs that etcd will trust.
        authorities: BTreeSet<CaSubject>,
    },
    /// All other members that answer trust these CAs, so this node installs its document's
    /// certificates, which these CAs signed.
    #[serde(rename = "show")]
    CertificatesTrustedByAll { authorities: BTreeSet<CaSubject> },
    /// The operator ordered this member to leave its cluster, and the cluster keeps its quorum
    /// without the member. firstboot removes the member next.
    Leave { member: u64 },
    /// The member remains a member, because it could not be removed in time, or because it must not
    /// leave.
    #[serde(rename = "stay")]
    LeaveCancelled { member: u64 },
    /// The member has been removed, and etcd remains stopped.
    Left {
        /// The id that the member had.
        member: u64,
    },
    /// The operator ordered this node, which is no longer a member, to join again.
    Rejoin {
        /// The id that the member had.
        member: u64,
    },
    /// firstboot archives a data directory that the node no longer uses: after an interrupted first
    /// start, after the member left or was removed, or because etcd must not use the data.
    #[serde(rename = "aside")]
    DataArchived { path: PathBuf },
    /// The operator ordered a restore or a rollback, so etcd stops.
    #[serde(rename = "told")]
    RestoreOrdered(Box<RestoreOrder>),
    /// All members have agreed, and the data swap starts. After a restart, firstboot completes the
    /// swap. If the swap itself fails, firstboot undoes it, and abandons the restore unless the
    /// restore is binding.
    #[serde(rename = "exchange")]
    SwapBegun(Box<DataSwap>),
    /// The swap is complete.
    #[serde(rename = "exchanged")]
    SwapDone,
    /// The restore was abandoned, and etcd keeps its previous data.
    #[serde(rename = "given-up")]
    RestoreAbandoned,
    /// etcd on this node answered a linearizable read.
    Healthy {
        /// The cluster's id, as etcd reports it.
        cluster: u64,
        /// The member's id, as etcd reports it.
        member: u64,
    },
}

/// An operator's order to restore or to roll back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestoreOrder {
    /// The nonce that firstboot generated for this order.
    pub(crate) nonce: Nonce,
    /// Whether the node restores a snapshot or returns to its previous data.
    #[serde(rename = "task")]
    pub(crate) mode: BootstrapMode,
    /// The members of the recipe for which the restore does not wait.
    pub(crate) without: BTreeSet<Label>,
    /// The snapshot to restore, or `None` for a rollback.
    pub(crate) source: Option<SnapshotFile>,
    /// The time at which firstboot abandons the order, in seconds since 1970. If
    /// firstboot.service continues the order, firstboot waits for at least two minutes, so that the
    /// other members can boot too.
    pub(crate) until: u64,
    /// Whether a node that has accepted the order must carry it out, because a return to the
    /// previous data could make two clusters acknowledge writes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) binding: bool,
}

/// A verified snapshot on this node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
    /// The digest of the whole snapshot file.
    pub(crate) sha256: Sha256,
    /// The revision of the snapshot.
    pub(crate) revision: u64,
    /// Whether the file ends with etcd's own digest.
    pub(crate) digest: bool,
    /// The file's fingerprint at the time of verification, by which firstboot detects a replacement
    /// without reading the file again.
    #[serde(rename = "stamp")]
    pub(crate) fingerprint: FileFingerprint,
}

/// A data swap: the replacement of etcd's data with other data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataSwap {
    /// The path of the new data.
    pub(crate) from: PathBuf,
    /// The path in the archive for the previous data, or `None` if there was no data.
    #[serde(rename = "aside")]
    pub(crate) archive_to: Option<PathBuf>,
    /// The token of the cluster to which the new data belongs.
    pub(crate) token: String,
    /// The names and peer URLs of the initial members.
    pub(crate) members: Vec<(String, String)>,
    /// The id of the cluster to which the new data belongs.
    pub(crate) cluster: u64,
    /// This node's member id in the cluster of the new data, if it is known.
    pub(crate) member: Option<u64>,
    /// The revision from which the cluster continues.
    pub(crate) revision: u64,
    /// The directories of the new data. Journals of earlier versions do not contain the
    /// directories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<DataIdentity>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Directories;

    /// Earlier versions of firstboot wrote lines in this format. After a downgrade, an earlier
    /// version reads the lines that this version wrote.
    #[test]
    fn the_names_in_a_line_are_the_same_as_in_earlier_versions() {
        let disk_id = DiskId::of(1);
        let nonces = Nonces::from([("a".parse().unwrap(), disk_id.nonce())]);
        let mode = BootstrapMode::Rollback { cluster: 7 };
        let order = RestoreOrder {
            nonce: disk_id.nonce(),
            mode,
            without: BTreeSet::new(),
            source: None,
            until: 9,
            binding: false,
        };
        let id = "00000000000000000000000000000001";
        for (event, line) in [
            (
                Event::DiskIdDrawn { disk_id },
                format!(r#"{{"event":"life","nonce":"{id}"}}"#),
            ),
            (
                Event::ProposalAccepted {
                    nonces: nonces.clone(),
                    mode: BootstrapMode::New,
                },
                format!(r#"{{"event":"ready","lives":{{"a":"{id}"}}}}"#),
            ),
            (
                Event::ProposalAccepted { nonces, mode },
                format!(
                    r#"{{"event":"ready","lives":{{"a":"{id}"}},"task":{{"rollback":{{"cluster":7}}}}}}"#
                ),
            ),
            (
                Event::RestoreOrdered(Box::new(order)),
                format!(
                    r#"{{"event":"told","nonce":"{id}","task":{{"rollback":{{"cluster":7}}}},"without":[],"source":null,"until":9}}"#
                ),
            ),
        ] {
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        }
    }

    #[test]
    fn the_tag_of_each_renamed_event_is_the_same_as_in_earlier_versions() {
        let swap = DataSwap {
            from: "/a".into(),
            archive_to: None,
            token: String::new(),
            members: vec![],
            cluster: 1,
            member: None,
            revision: 0,
            data: None,
        };
        for (event, line) in [
            (
                Event::IdentityAccepted {
                    name: "a".parse().unwrap(),
                    machine: Machine::default(),
                },
                r#"{"event":"accepted","name":"a","machine":{"macs":[],"serial":null,"uuid":null}}"#,
            ),
            (
                Event::MembersExcluded {
                    names: BTreeSet::new(),
                },
                r#"{"event":"without","names":[]}"#,
            ),
            (
                Event::EtcdVersionRecorded {
                    etcd: "3.5.1".parse().unwrap(),
                },
                r#"{"event":"uses","etcd":"3.5.1"}"#,
            ),
            (
                Event::CertificatesTrustedByAll {
                    authorities: BTreeSet::new(),
                },
                r#"{"event":"show","authorities":[]}"#,
            ),
            (
                Event::LeaveCancelled { member: 1 },
                r#"{"event":"stay","member":1}"#,
            ),
            (
                Event::DataArchived { path: "/a".into() },
                r#"{"event":"aside","path":"/a"}"#,
            ),
            (
                Event::SwapBegun(Box::new(swap)),
                r#"{"event":"exchange","from":"/a","aside":null,"token":"","members":[],"cluster":1,"member":null,"revision":0}"#,
            ),
            (Event::SwapDone, r#"{"event":"exchanged"}"#),
            (Event::RestoreAbandoned, r#"{"event":"given-up"}"#),
        ] {
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
        }
    }

    #[test]
    fn the_tags_of_the_events_of_etcds_data_are_the_same_as_in_earlier_versions() {
        let [root, member, snap, wal] = [1, 2, 3, 4].map(Inode::numbered);
        let data = DataIdentity {
            directories: Directories {
                data: root,
                member,
                snap,
                wal,
            },
            member: 7,
            cluster: 9,
        };
        for (event, line) in [
            (
                Event::DataDirCreated {
                    directory: Inode::numbered(1),
                },
                r#"{"event":"data-made","directory":{"number":1,"generation":1}}"#,
            ),
            (
                Event::WalCreated(data),
                r#"{"event":"data-begun","directories":{"data":{"number":1,"generation":1},"member":{"number":2,"generation":1},"snap":{"number":3,"generation":1},"wal":{"number":4,"generation":1}},"member":7,"cluster":9}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
        }
    }

    #[test]
    fn the_keys_of_a_snapshot_file_are_the_same_as_in_earlier_versions() {
        let digest = "0".repeat(64);
        let text = format!(
            r#"{{"path":"/a","sha256":"{digest}","revision":1,"digest":true,"stamp":{{"inode":1,"size":2,"modified":[3,4],"changed":[5,6]}}}}"#
        );
        let file: SnapshotFile = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&file).unwrap(), text);
    }
}
