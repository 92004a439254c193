//! The deliveries of the nodes' documents. The records of the deliveries survive a restart of the
//! server. If a record cannot be written, this process remembers the delivery.

use anyhow::{Context as _, Result};
use recipes::Label;

use super::record::{DocumentDelivery, Record};
use super::unsaved_records::UnsavedRecords;

/// The deliveries that could not be recorded.
#[derive(Debug, Default)]
pub(super) struct Deliveries(UnsavedRecords<DocumentDelivery>);

impl Deliveries {
    /// Returns the last delivery of a node's document, even if the delivery could not be recorded.
    pub(super) fn last(&self, record: &Record, node: &Label) -> Result<Option<DocumentDelivery>> {
        let recorded = record.delivery(node)?;
        let unsaved = self.0.get(node, record.delivery_fingerprint(node).as_ref());
        Ok(unsaved.or(recorded))
    }

    /// Changes the record of the delivery of a node's document.
    ///
    /// # Errors
    /// Fails if the record cannot be read or written. If only the write fails, this process
    /// remembers the delivery.
    pub(super) fn change(
        &self,
        record: &Record,
        node: &Label,
        change: impl FnOnce(&mut DocumentDelivery),
    ) -> Result<()> {
        let last = self.last(record, node)?;
        let is_new = last.is_none();
        let mut delivery = last.unwrap_or_else(DocumentDelivery::allowed);
        change(&mut delivery);
        // Do not write a first record that would permit a delivery. An empty record permits the
        // delivery. If the server's record does not begin with the cluster's first build, the
        // document may have been handed out before. In that case, any first record would permit
        // another delivery until its window ends.
        if is_new && (delivery == DocumentDelivery::allowed() || !record.is_complete()) {
            return Ok(());
        }
        self.put(record, node, &delivery).context(
            "a machine has its document, but the server can remember the delivery only until it \
             exits",
        )
    }

    fn put(&self, record: &Record, node: &Label, delivery: &DocumentDelivery) -> Result<()> {
        // A machine that asks again within the window does not change its record.
        let is_recorded = matches!(record.delivery(node), Ok(Some(before)) if before == *delivery);
        let written = if is_recorded {
            Ok(())
        } else {
            record.put_delivery(node, delivery)
        };
        if written.is_ok() {
            self.0.forget(node);
        } else {
            let replaces = record.delivery_fingerprint(node);
            self.0.remember(node, delivery.clone(), replaces);
        }
        written
    }

    /// Allows the delivery of a node's document. Forgets an earlier delivery that could not be
    /// recorded.
    pub(super) fn open(&self, record: &Record, node: &Label) -> Result<()> {
        record.put_delivery(node, &DocumentDelivery::allowed())?;
        self.0.forget(node);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_permission_replaces_a_delivery_that_could_not_be_recorded() {
        let root = tempfile::tempdir().unwrap();
        let record = Record::new(root.path(), &"demo".parse().unwrap());
        let node: Label = "etcd-1".parse().unwrap();
        let deliveries = Deliveries::default();
        let allowed = DocumentDelivery::allowed();
        let mut delivery = allowed.clone();
        delivery.mark_delivered(SystemTime::UNIX_EPOCH);
        let first = || {
            let last = deliveries.last(&record, &node).unwrap();
            last.and_then(|last| last.first)
        };
        // The write fails, because a file cannot replace a folder.
        let unsaved = || {
            let path = root.path().join("demo/etcd-1/document.json");
            let aside = root.path().join("aside");
            fs::rename(&path, &aside).unwrap();
            fs::create_dir(&path).unwrap();
            deliveries.put(&record, &node, &delivery).unwrap_err();
            fs::remove_dir(&path).unwrap();
            fs::rename(&aside, &path).unwrap();
            // The server could not write the file, so the file is still the same.
            let replaces = record.delivery_fingerprint(&node);
            deliveries.0.remember(&node, delivery.clone(), replaces);
        };
        record.put_delivery(&node, &allowed).unwrap();
        unsaved();
        assert_eq!(first(), delivery.first, "the delivery is forgotten");
        // `builder allow --document` writes the same record again.
        record.put_delivery(&node, &allowed).unwrap();
        assert_eq!(first(), None, "the permission has no effect");
        unsaved();
        assert_eq!(first(), delivery.first);
        deliveries.open(&record, &node).unwrap();
        assert_eq!(first(), None, "the installation does not open the delivery");
    }
}
