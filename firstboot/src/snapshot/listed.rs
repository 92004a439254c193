//! A snapshot as a store lists it.

use super::encode::stem;
use super::manifest::Manifest;

/// What is there under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedSnapshot {
    pub(super) name: String,
    pub(super) size: u64,
    /// `None`: it has none of firstboot's, so firstboot did not make it.
    pub(super) manifest: Option<Manifest>,
}

impl ListedSnapshot {
    /// Whether it is whole, as far as can be told without reading it. `snapshot verify` reads it.
    pub(super) fn good(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.size == self.size)
    }
}

/// Whether a name is one that a snapshot has.
pub(super) fn is_snapshot(name: &str) -> bool {
    stem(name).is_some()
}
