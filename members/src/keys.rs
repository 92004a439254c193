//! The keys in etcd through which the nodes of a cluster coordinate. The restart lock is for a
//! restart of etcd during a rotation of the CA, and the turn is for an update of the image. An
//! update and such a restart exclude each other, so that they do not stop two members at the same
//! time.

use anyhow::{Context as _, Result};
use recipes::{Label, Sha256};
use serde::{Deserialize, Serialize};

use crate::etcd::Client;
use crate::reason::{Reason, ReasonId};
use crate::timestamp::rfc3339;

/// The key of the restart lock. The key has a lease, and its value is the node's name.
pub const RESTART: &str = "/etcd-image/restart";
/// The key of the turn to update. The key has no lease, because a member may be down for a long
/// time during its update.
pub const TURN: &str = "/etcd-image/update/turn";

/// The key of the halt, with which an operator prevents all members from starting an update.
pub const HALT: &str = "/etcd-image/update/halt";
/// The key of the newest release that any member has started to install.
pub const NEWEST_RELEASE: &str = "/etcd-image/update/newest";
/// The key that records the newest good snapshot at the destination that the recipe names.
pub const NEWEST_SNAPSHOT: &str = "/etcd-image/backup/newest";

/// The key that a member holds while it takes a scheduled snapshot. The key has a lease, and its
/// value is the node's name.
pub const SNAPSHOT_CLAIM: &str = "/etcd-image/backup/claim";
/// The key with the time of the last snapshot that a member took for an update.
pub const UPDATE_SNAPSHOT: &str = "/etcd-image/update/snapshot";
/// The key that a member writes to check that a quorum acknowledges its writes.
pub const WRITE_CHECK: &str = "/etcd-image/update/proof";

/// The prefix of the keys about updates.
pub const UPDATE_PREFIX: &str = "/etcd-image/update/";
/// The prefix of the keys that mark releases as failed. A release's serial follows the prefix.
pub const FAILED_PREFIX: &str = "/etcd-image/update/failed/";

/// Returns the key that marks a release as failed.
pub fn failed_key(serial: u64) -> String {
    format!("{FAILED_PREFIX}{serial}")
}

/// The turn of the member that may update itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpdateTurn {
    /// The member's name.
    pub node: Label,
    /// The serial of the image that the member installs or rolls back.
    pub serial: u64,
    /// The time at which the turn started, in seconds since 1970.
    pub since: u64,
}

/// The halt, with which an operator prevents all members from starting an update.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpdateHalt {
    /// The reason for the halt.
    pub why: String,
    /// The node on which the operator gave the order.
    pub node: String,
    /// The time of the order, in seconds since 1970.
    pub since: u64,
}

/// The record of a failed release, which no member tries again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FailedRelease {
    /// The node on which the release failed.
    pub node: Label,
    /// The reason for the failure.
    pub why: String,
    /// The time of the failure, in seconds since 1970.
    pub at: u64,
}

/// The newest release that any member has started to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewestRelease {
    /// The serial of the release.
    pub serial: u64,
}

/// The record of the newest good snapshot at the destination that the recipe names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The snapshot's slot in the schedule, in seconds since 1970.
    pub slot: u64,
    /// The time at which the member started to take the snapshot, in seconds since 1970.
    pub time: u64,
    /// The host that took the snapshot.
    pub host: String,
    /// The folder or prefix that contains the snapshot.
    #[serde(rename = "place")]
    pub location: String,
    /// The name of the snapshot's file.
    pub file: String,
    /// The digest of the snapshot's file.
    pub sha256: Sha256,
    /// etcd's revision in the snapshot.
    pub revision: i64,
}

#[cfg(test)]
impl SnapshotRecord {
    /// Returns the record of a snapshot, for tests.
    pub(crate) fn example(slot: u64, time: u64) -> Self {
        Self {
            slot,
            time,
            host: "etcd-1".to_owned(),
            location: "/var/backups/etcd".to_owned(),
            file: "x.db".to_owned(),
            sha256: Sha256::of(b"x"),
            revision: 1,
        }
    }
}

/// The number of seconds by which the clock of another member may be ahead of this member's clock.
/// If a time is further ahead, the program assumes that it comes from a wrong clock.
const CLOCK_TOLERANCE: u64 = 300;

/// Returns whether a time in seconds since 1970 is so far after `now` that the time must come from
/// a wrong clock.
pub fn is_from_wrong_clock(time: u64, now: u64) -> bool {
    time > now.saturating_add(CLOCK_TOLERANCE)
}

impl SnapshotRecord {
    /// Returns whether this snapshot was taken for this slot of the schedule, or for a later slot.
    /// A snapshot whose time comes from a wrong clock does not count. If such a snapshot counted,
    /// no other snapshot would be taken until that time.
    pub fn covers(&self, slot: u64, now: u64) -> bool {
        self.slot >= slot && !is_from_wrong_clock(self.time, now)
    }

    /// Returns whether the snapshot of this record is newer than the snapshot of the record
    /// `other`. A snapshot whose time comes from a wrong clock does not count as newer.
    pub fn is_newer_than(&self, other: &Self, now: u64) -> bool {
        self.time > other.time && !is_from_wrong_clock(self.time, now)
    }

    /// Reads the record from etcd, and returns it with the revision of its last change. Returns
    /// `None` instead of a missing or invalid record. The revision is 0 if the record is missing.
    pub async fn read(client: &Client) -> Result<(Option<Self>, i64)> {
        let Some(found) = client.get(NEWEST_SNAPSHOT).await? else {
            return Ok((None, 0));
        };
        Ok((
            serde_json::from_slice(&found.value).ok(),
            found.mod_revision,
        ))
    }
}

impl UpdateTurn {
    /// Returns the reason why every other member must wait.
    pub fn reason(&self) -> Reason {
        ReasonId::UpdateTurn.because(format!(
            "{} has held the turn, for image {}, since {}",
            self.node,
            self.serial,
            rfc3339(self.since)
        ))
    }
}

impl UpdateHalt {
    /// Returns the reason why no member starts an update.
    pub fn reason(&self) -> Reason {
        ReasonId::UpdateHalted.because(format!(
            "{} halted all updates: {}. `firstboot update --resume` ends the halt",
            self.node, self.why
        ))
    }
}

impl FailedRelease {
    /// Returns the reason why no member installs the release with this serial.
    pub fn reason(&self, serial: u64) -> Reason {
        ReasonId::UpdateFailedBefore.because(format!(
            "image {serial} failed on {}: {}. Correct the cause and build a new image. If the image was not the cause, run \
             `firstboot update --retry`",
            self.node, self.why
        ))
    }
}

/// Returns the key that contains the result of a node's newest image check.
pub fn image_check_key(node: &str) -> String {
    format!("/etcd-image/image/{node}")
}

/// The result of a node's check of its own files against its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageCheck {
    /// The time of the check, in seconds since 1970.
    pub at: u64,
    /// The number of files that differ from the image or are missing.
    pub differing: usize,
    /// The paths of the first files that differ or are missing.
    pub files: Vec<String>,
}

impl ImageCheck {
    /// The maximum number of recorded paths. A value in etcd must stay small.
    const MAX_PATHS: usize = 8;

    /// Returns the result of a check that ran at the time `at` and found that these files differ
    /// from the image or are missing.
    pub fn new(at: u64, mut files: Vec<String>) -> Self {
        let differing = files.len();
        files.truncate(Self::MAX_PATHS);
        Self {
            at,
            differing,
            files,
        }
    }

    /// Returns whether both checks found the same number of altered or missing files and recorded
    /// the same paths.
    pub fn agrees_with(&self, other: &Self) -> bool {
        (self.differing, &self.files) == (other.differing, &other.files)
    }

    /// Returns the fault, if any file differs from the image or is missing.
    pub fn fault(&self) -> Option<Reason> {
        if self.differing == 0 {
            return None;
        }
        let more = match self.differing.saturating_sub(self.files.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(ReasonId::ImageAltered.because(format!(
            "image check failed: {}{more}. etcd will not start on this node after the next boot: \
             restore the files, or reinstall the node",
            self.files.join(", ")
        )))
    }
}

/// The value of a key and the revision of its last change. The revision is 0 if the key does not
/// exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyState<T> {
    /// The value, if the key exists.
    pub value: Option<T>,
    /// The revision of the key's last change.
    pub revision: i64,
}

impl<T> Default for KeyState<T> {
    fn default() -> Self {
        Self {
            value: None,
            revision: 0,
        }
    }
}

impl<T: serde::de::DeserializeOwned> KeyState<T> {
    /// Reads the key through raft.
    pub async fn read(client: &Client, key: &str) -> Result<Self> {
        let found = client.get(key).await?;
        Self::parse(
            key,
            found
                .as_ref()
                .map(|found| (&*found.value, found.mod_revision)),
        )
    }

    /// Parses etcd's response: the value, and the revision of its last change.
    pub fn parse(key: &str, found: Option<(&[u8], i64)>) -> Result<Self> {
        let Some((value, revision)) = found else {
            return Ok(Self::default());
        };
        let value = serde_json::from_slice(value).with_context(|| {
            format!(
                "the key {key} in etcd contains a value that firstboot cannot read. Run `etcdctl \
                 del {key}` to remove the key"
            )
        })?;
        Ok(Self {
            value: Some(value),
            revision,
        })
    }
}

impl KeyState<UpdateTurn> {
    /// Returns whether this member has the turn.
    pub fn is_of(&self, node: &Label) -> bool {
        self.value.as_ref().is_some_and(|turn| turn.node == *node)
    }

    /// Returns the keys that must be unchanged when this member takes the restart lock. The
    /// member's own turn does not prevent the restart, because the member also restarts etcd when
    /// it updates itself.
    ///
    /// # Errors
    /// Returns the turn if another member has it, because this member must then not restart etcd.
    pub fn restart_condition(&self, node: &Label) -> Result<Vec<(&'static str, i64)>, &UpdateTurn> {
        match &self.value {
            Some(turn) if turn.node != *node => Err(turn),
            _ => Ok(vec![(TURN, self.revision)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_failed_image_check_names_the_files() {
        assert_eq!(ImageCheck::new(1, Vec::new()).fault(), None);
        let check = ImageCheck::new(1, vec!["/etc/chrony.conf".to_owned()]);
        assert!(
            check
                .fault()
                .unwrap()
                .text
                .starts_with("image check failed: /etc/chrony.conf. "),
        );
        let many = ImageCheck::new(1, (0..100).map(|n| format!("/etc/{n}")).collect());
        assert_eq!((many.files.len(), many.differing), (8, 100));
        let text = many.fault().unwrap().text;
        assert!(text.contains("/etc/7 and 92 more."), "{text}");
        assert!(!many.agrees_with(&check) && check.agrees_with(&check.clone()));
    }

    #[test]
    fn the_value_of_an_image_check_is_stable() {
        let check = ImageCheck::new(7, vec!["/etc/a".to_owned()]);
        let text = r#"{"at":7,"differing":1,"files":["/etc/a"]}"#;
        assert_eq!(serde_json::to_string(&check).unwrap(), text);
        assert_eq!(serde_json::from_str::<ImageCheck>(text).unwrap(), check);
    }

    /// If `covers` accepted the time of any clock, a member whose clock is a year ahead would stop
    /// all scheduled snapshots for a year.
    #[test]
    fn a_snapshot_from_a_wrong_clock_covers_no_slot_and_is_replaced() {
        let taken = SnapshotRecord::example;
        let (slot, now) = (7200, 7300);
        assert!(taken(slot, 7250).covers(slot, now) && !taken(3600, 3700).covers(slot, now));
        assert!(taken(slot, 7500).covers(slot, now), "small difference");
        let ahead = taken(31_539_600, 31_540_000);
        assert!(!ahead.covers(slot, now));
        assert!(!ahead.is_newer_than(&taken(slot, 7250), now));
        assert!(taken(slot, 7260).is_newer_than(&taken(slot, 7250), now));
    }

    proptest! {
        #[test]
        fn no_value_of_a_key_causes_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            serial: u64,
            since: u64,
            differing: usize,
            why in "\\PC{0,30}",
        ) {
            let _ = KeyState::<UpdateTurn>::parse(TURN, Some((&bytes, 1)));
            let read = |value: serde_json::Value| value.to_string().into_bytes();
            let turn = read(serde_json::json!({ "node": "a", "serial": serial, "since": since }));
            let turn = KeyState::<UpdateTurn>::parse(TURN, Some((&turn, 1))).unwrap();
            let check = read(serde_json::json!({ "at": since, "differing": differing, "files": [why] }));
            let check = KeyState::<ImageCheck>::parse("k", Some((&check, 1))).unwrap();
            let _ = (turn.value.unwrap().reason(), check.value.unwrap().fault());
        }
    }
}
