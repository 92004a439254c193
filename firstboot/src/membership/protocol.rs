//! Defines the protocol of the barrier: a GET request on the peer port, which the server answers
//! with a JSON document.

use std::collections::BTreeSet;

use recipes::upgrade;
use recipes::{EtcdVersion, Label, Sha256};
use serde::{Deserialize, Serialize};

use crate::domain::{BootstrapMode, Nonce};

/// The path of the request. etcd serves nothing at this path.
pub(crate) const PATH: &str = "/firstboot/barrier";

/// The path prefix that precedes a snapshot's digest. Under this prefix, a member serves the
/// snapshot that it was ordered to restore.
pub(crate) const SNAPSHOTS: &str = "/firstboot/snapshot/";
/// The query string with which a client announces that its state has changed. A member that
/// receives this query string probes the client immediately.
pub(crate) const NEWS: &str = "news";

/// The version of the document's format.
const FORMAT: u32 = 1;

/// The size limit for an answer. An answer consists of a few hundred bytes and the name of each
/// excluded member.
pub(crate) const LIMIT: usize = 16 << 10;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    cluster: Label,
    name: Label,
    nonce: Nonce,
    #[serde(flatten)]
    phase: BarrierPhase,
    without: BTreeSet<Label>,
    #[serde(rename = "task")]
    mode: BootstrapMode,
    /// The version of the member's etcd. The firstboot of some earlier images does not send the
    /// version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etcd: Option<EtcdVersion>,
}

/// The state that a node announces about itself.
#[derive(Debug)]
pub(crate) struct Announcement<'a> {
    pub(crate) name: &'a Label,
    pub(crate) nonce: Nonce,
    /// The progress of the node at the barrier.
    pub(crate) phase: BarrierPhase,
    /// The members that the node's operator excluded.
    pub(crate) without: &'a BTreeSet<Label>,
    /// Whether the node starts a new cluster, restores a snapshot or rolls back.
    pub(crate) mode: BootstrapMode,
}

/// Builds the document with which a node answers.
pub(crate) fn write(cluster: &Label, etcd: EtcdVersion, own: &Announcement<'_>) -> Vec<u8> {
    let document = Document {
        format: FORMAT,
        cluster: cluster.clone(),
        name: own.name.clone(),
        nonce: own.nonce,
        phase: own.phase,
        without: own.without.clone(),
        mode: own.mode,
        etcd: Some(etcd),
    };
    serde_json::to_vec(&document).unwrap_or_default()
}

/// Parses the answer of the member `name` of `cluster`, or explains why the answer is not valid.
/// Refuses a member whose etcd cannot run in a cluster together with the version `own`, so that no
/// new cluster contains both versions.
pub(crate) fn read(
    bytes: &[u8],
    cluster: &Label,
    own: EtcdVersion,
    name: &Label,
) -> Result<PeerState, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let of: Format =
        serde_json::from_slice(bytes).map_err(|_| "its answer is not from firstboot".to_owned())?;
    if of.format != FORMAT {
        return Err(format!(
            "its firstboot uses the format {}, but firstboot on this node uses the format {FORMAT}",
            of.format
        ));
    }
    let Document {
        cluster: theirs,
        name: said,
        nonce,
        phase,
        without,
        mode,
        etcd,
        ..
    } = serde_json::from_slice(bytes)
        .map_err(|error| format!("its answer cannot be parsed: {error}"))?;
    if theirs != *cluster || said != *name {
        return Err(format!(
            "it reports that it is the member {said} of the cluster {theirs}"
        ));
    }
    if let Some(obstacle) =
        etcd.and_then(|etcd| upgrade::coexistence_obstacle(own, "its image", etcd))
    {
        return Err(obstacle.to_string());
    }
    Ok(PeerState::Firstboot {
        nonce,
        phase,
        without,
        mode,
    })
}

/// The progress of a node at the barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub(crate) enum BarrierPhase {
    /// The node has not accepted a proposal.
    #[serde(rename = "empty")]
    NotAccepted,
    /// The node has received all nonces of this proposal, and has recorded the proposal in its
    /// journal.
    #[serde(rename = "ready")]
    Accepted {
        /// The proposal's hash.
        #[serde(rename = "epoch")]
        proposal: Sha256,
    },
}

/// The state that a member announces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PeerState {
    /// firstboot is waiting at the barrier.
    Firstboot {
        nonce: Nonce,
        /// The progress of the node at the barrier.
        phase: BarrierPhase,
        /// The members that the node's operator excluded.
        without: BTreeSet<Label>,
        /// Whether the node starts a new cluster, restores a snapshot or rolls back.
        mode: BootstrapMode,
    },
    /// etcd is running.
    Etcd {
        /// The id of etcd's cluster.
        cluster_id: u64,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label(name: &str) -> Label {
        name.parse().unwrap()
    }

    #[test]
    fn a_written_document_is_read_back() {
        let (name, without) = (label("a"), BTreeSet::from([label("c")]));
        let mode = BootstrapMode::Rollback { cluster: 7 };
        let own_state = Announcement {
            name: &name,
            nonce: Nonce::of(7),
            phase: BarrierPhase::NotAccepted,
            without: &without,
            mode,
        };
        let state = |phase| PeerState::Firstboot {
            nonce: Nonce::of(7),
            phase,
            without: without.clone(),
            mode,
        };
        let etcd = |text: &str| text.parse::<EtcdVersion>().unwrap();
        let (own, none) = (etcd("3.5.1"), etcd("3.6.14"));
        let written = write(&label("demo"), own, &own_state);
        assert!(written.len() < LIMIT / 8);
        // Check the serialized names, because firstboot in earlier images reads them.
        let text = String::from_utf8(written.clone()).unwrap();
        assert!(
            text.contains(r#""nonce":"0000"#)
                && text.contains(r#""task":{"rollback":{"cluster":7}}"#),
            "{text}"
        );
        assert_eq!(
            read(&written, &label("demo"), own, &label("a")),
            Ok(state(BarrierPhase::NotAccepted))
        );
        let proposal = Sha256::of(b"x");
        let ready = String::from_utf8(written.clone()).unwrap();
        let ready = ready.replace("\"empty\"", &format!("\"ready\",\"epoch\":\"{proposal}\""));
        assert_eq!(
            read(ready.as_bytes(), &label("demo"), own, &label("a")),
            Ok(state(BarrierPhase::Accepted { proposal }))
        );
        assert!(
            read(&written, &label("demo"), own, &label("b"))
                .unwrap_err()
                .contains("it is the member a of the cluster demo")
        );
        assert!(read(&written, &label("x"), own, &label("a")).is_err());
        let why = read(&written, &label("demo"), none, &label("a")).unwrap_err();
        assert!(
            why.contains("its image is etcd 3.5.1, and 3.6.14 cannot run alongside it"),
            "{why}"
        );
        // The firstboot of some earlier images does not send a version.
        let mut earlier: serde_json::Value = serde_json::from_slice(&written).unwrap();
        earlier.as_object_mut().unwrap().remove("etcd");
        let earlier = serde_json::to_vec(&earlier).unwrap();
        assert_eq!(
            read(&earlier, &label("demo"), none, &label("a")),
            Ok(state(BarrierPhase::NotAccepted))
        );
    }

    #[test]
    fn other_formats_and_garbage_are_refused() {
        let (a, own) = (label("a"), "3.5.1".parse().unwrap());
        assert!(
            read(br#"{"format":2,"any":1}"#, &a, own, &a)
                .unwrap_err()
                .contains("format 2")
        );
        assert!(
            read(b"<html>", &a, own, &a)
                .unwrap_err()
                .contains("is not from firstboot")
        );
        assert!(read(br#"{"format":1}"#, &a, own, &a).is_err());
    }

    proptest! {
        #[test]
        fn an_altered_answer_is_read_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at: prop::sample::Index,
            piece in "[]{}\\[\",:a-z0-9-]{0,8}",
        ) {
            let (demo, a, own) = (label("demo"), label("a"), "3.5.1".parse().unwrap());
            let state = Announcement {
                name: &a,
                nonce: Nonce::of(7),
                phase: BarrierPhase::NotAccepted,
                without: &BTreeSet::new(),
                mode: BootstrapMode::Rollback { cluster: 7 },
            };
            let mut altered = write(&demo, own, &state);
            let at = at.index(altered.len());
            let end = (at + piece.len()).min(altered.len());
            altered.splice(at..end, piece.bytes());
            for bytes in [&bytes, &altered] {
                let is_etcd = matches!(read(bytes, &demo, own, &a), Ok(PeerState::Etcd { .. }));
                prop_assert!(!is_etcd, "firstboot claims to be etcd");
            }
        }
    }
}
