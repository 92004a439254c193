//! The two reasons for which a member stops its etcd on purpose: a restart during a rotation of the
//! CA, and an update of the image. Members coordinate both through etcd, and each excludes the
//! other, so that two members are never stopped at the same time.

use anyhow::{Context as _, Result};
use recipes::Label;
use serde::{Deserialize, Serialize};

use crate::etcd::Client;

/// The key of the restart lock: it has a lease, and the node's name as its value.
pub(crate) const RESTART: &str = "/etcd-image/restart";
/// The key of the turn to update. It has no lease: a member that updates itself may be down for a
/// long time.
pub(crate) const TURN: &str = "/etcd-image/update/turn";

/// The member that may update itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpdateTurn {
    pub(crate) node: Label,
    pub(crate) serial: u64,
    /// The time of the turn's start, in seconds since 1970.
    pub(crate) since: u64,
}

/// The value of a key, and the revision of its last change, or 0 if the key does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key<T> {
    pub(crate) value: Option<T>,
    pub(crate) revision: i64,
}

impl<T> Default for Key<T> {
    fn default() -> Self {
        Self {
            value: None,
            revision: 0,
        }
    }
}

impl<T: serde::de::DeserializeOwned> Key<T> {
    /// Reads the key through raft.
    pub(crate) async fn read(client: &Client, key: &str) -> Result<Self> {
        let Some(found) = client.get(key).await? else {
            return Ok(Self::default());
        };
        let value = serde_json::from_slice(&found.value).with_context(|| {
            format!(
                "the key {key} in etcd was not written by firstboot. `etcdctl del {key}` removes it"
            )
        })?;
        Ok(Self {
            value: Some(value),
            revision: found.mod_revision,
        })
    }
}
