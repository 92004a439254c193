//! Defines the transactions with which the members change the state that they share in etcd. Each
//! transaction is a pure function of the keys that a member has read. etcd executes the transaction
//! only if the keys on which the decision depends have not changed since the member read them.

use anyhow::Result;
use recipes::Label;

use members::keys::{FailedRelease, HALT, NEWEST_RELEASE, NewestRelease, failed_key};

use super::update_keys::UpdateKeys;
use crate::etcd::Client;
use members::keys::{RESTART, TURN, UpdateTurn};

/// A set of changes that etcd makes only if no key in `seen` has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    /// The keys that must not have changed, each with the revision of its last change, or 0 if the
    /// key does not exist.
    pub(super) seen: Vec<(String, i64)>,
    /// The changed keys with their new values, or `None` for a key that is deleted.
    pub(super) changes: Vec<(String, Option<Vec<u8>>)>,
}

impl Transaction {
    /// Executes the transaction. Returns `false` if a key has changed since the keys were read.
    pub(super) async fn execute(&self, client: &Client) -> Result<bool> {
        let seen: Vec<_> = self
            .seen
            .iter()
            .map(|(key, revision)| (key.as_str(), *revision))
            .collect();
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()))
            .collect();
        client.transact(&seen, &changes).await
    }
}

impl UpdateKeys {
    /// Returns the transaction that takes the turn. The transaction always writes `NEWEST_RELEASE`.
    /// If the revision of this key has changed since the keys were read, another member has taken
    /// the turn in the meantime.
    pub(super) fn take_transaction(&self, turn: &UpdateTurn) -> Result<Transaction> {
        let newest = NewestRelease {
            serial: turn
                .serial
                .max(self.newest.value.map_or(0, |newest| newest.serial)),
        };
        Ok(Transaction {
            seen: vec![
                (TURN.to_owned(), self.turn.revision),
                (HALT.to_owned(), self.halt.revision),
                (failed_key(turn.serial), self.failed.revision),
                (NEWEST_RELEASE.to_owned(), self.newest.revision),
                (RESTART.to_owned(), 0),
            ],
            changes: vec![
                (TURN.to_owned(), Some(serde_json::to_vec(turn)?)),
                (
                    NEWEST_RELEASE.to_owned(),
                    Some(serde_json::to_vec(&newest)?),
                ),
            ],
        })
    }

    /// Returns the transaction that releases the turn, if this node has the turn. If `failed` is
    /// given, the transaction also marks the release as failed, so that no member tries the release
    /// again. Returns `None` if no change is necessary.
    pub(super) fn release_transaction(
        &self,
        node: &Label,
        serial: u64,
        failed: Option<&FailedRelease>,
    ) -> Result<Option<Transaction>> {
        let mut changes = Vec::new();
        if self.turn.is_of(node) {
            changes.push((TURN.to_owned(), None));
        }
        if let Some(failed) = failed {
            changes.push((failed_key(serial), Some(serde_json::to_vec(failed)?)));
        }
        Ok((!changes.is_empty()).then(|| Transaction {
            seen: vec![(TURN.to_owned(), self.turn.revision)],
            changes,
        }))
    }
}
