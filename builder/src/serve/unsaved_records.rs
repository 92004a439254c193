//! Records that could not be written, for example because the disk is full. The process remembers
//! them until they are written or it exits.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use recipes::Label;

use crate::text_file::Fingerprint;

/// The records of one kind that could not be written, by node.
#[derive(Debug)]
pub(super) struct UnsavedRecords<T>(Mutex<BTreeMap<Label, UnsavedRecord<T>>>);

#[derive(Debug)]
struct UnsavedRecord<T> {
    record: T,
    /// The fingerprint of the file that the record could not replace, if the file exists. If
    /// another program has written the file since then, the unsaved record no longer counts.
    /// `builder allow` may write a record that is equal to the earlier record, so a comparison of
    /// the records would not show the change.
    replaces: Option<Fingerprint>,
}

impl<T: Clone> UnsavedRecords<T> {
    /// Returns the unsaved record of a node. `present` is the fingerprint of the file in which the
    /// record should be, if the file exists.
    pub(super) fn get(&self, node: &Label, present: Option<&Fingerprint>) -> Option<T> {
        let records = self.records();
        let unsaved = records.get(node)?;
        (unsaved.replaces.as_ref() == present).then(|| unsaved.record.clone())
    }

    /// Remembers a record that could not replace the file with this fingerprint.
    pub(super) fn remember(&self, node: &Label, record: T, replaces: Option<Fingerprint>) {
        let unsaved = UnsavedRecord { record, replaces };
        self.records().insert(node.clone(), unsaved);
    }

    /// Forgets the unsaved record of a node, because a newer record has been written.
    pub(super) fn forget(&self, node: &Label) {
        self.records().remove(node);
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<Label, UnsavedRecord<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for UnsavedRecords<T> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}
