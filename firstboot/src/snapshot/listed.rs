//! Describes a snapshot in the listing of a store.

use super::encode::stem;
use super::manifest::Manifest;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedSnapshot {
    pub(super) name: String,
    pub(super) size: u64,
    /// The snapshot's manifest, or `None` if the snapshot has no valid manifest, for example
    /// because firstboot did not take it.
    pub(super) manifest: Option<Manifest>,
}

impl ListedSnapshot {
    /// Returns whether the snapshot has the size that its manifest states. The content is not
    /// checked; `snapshot verify` checks it.
    pub(super) fn has_stated_size(&self) -> bool {
        self.manifest
            .as_ref()
            .is_some_and(|manifest| manifest.size == self.size)
    }
}

pub(super) fn is_snapshot(name: &str) -> bool {
    stem(name).is_some()
}
