//! Converts the records of earlier versions. In those versions, an attempt to install a machine did
//! not replace the record of the document's delivery. Instead, the server compared two times: the
//! beginning of the attempt, and the delivery.

use anyhow::Result;
use recipes::{InstallStage, Label};

use super::{DocumentDelivery, InstallEventKind, Installation, Record};

impl Record {
    /// Converts the records of a node if an earlier version wrote them. The comparison of times is
    /// made only once, because it is wrong if the clock has been changed.
    pub(crate) fn convert(&self, node: &Label) -> Result<()> {
        let is_earlier = |recorded: &Installation| recorded.began.is_some();
        // Most records need no conversion, and then the folder stays unchanged.
        if !self.installation(node)?.as_ref().is_some_and(is_earlier) {
            return Ok(());
        }
        let _lock = self.lock()?;
        let Some(mut installation) = self.installation(node)? else {
            return Ok(());
        };
        let Some(began) = installation.began.take() else {
            return Ok(());
        };
        let first = self.delivery(node)?.and_then(|delivery| delivery.first);
        let is_since = first.is_some_and(|first| began <= first);
        // A healthy node has its document, so its document needs no delivery.
        let is_healthy = installation
            .last
            .as_ref()
            .is_some_and(|last| last.kind == InstallEventKind::Reported(InstallStage::Healthy));
        let is_kept = is_since || (is_healthy && first.is_some());
        if !is_kept {
            self.put_delivery(node, &DocumentDelivery::allowed())?;
        }
        // The installation is written last, so an interrupted conversion is repeated.
        self.put_installation(node, &installation)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    /// Converts a record in which an attempt began at `at(100)` and the document was handed out at
    /// `first`. Returns the converted record of the delivery.
    fn converted(
        first: Option<SystemTime>,
        stage: Option<InstallStage>,
    ) -> Option<DocumentDelivery> {
        let root = tempfile::tempdir().unwrap();
        let record = Record::new(root.path(), &"demo".parse().unwrap());
        let node: Label = "etcd-1".parse().unwrap();
        let mut installation = Installation::allowed();
        installation.note_sent("t".to_owned(), at(100));
        if let Some(stage) = stage {
            installation.report("t", stage, None, at(200)).unwrap();
        }
        let current = installation.clone();
        installation.began = Some(at(100));
        record.put_installation(&node, &installation).unwrap();
        if first.is_some() {
            let delivery = DocumentDelivery {
                first,
                ..DocumentDelivery::allowed()
            };
            record.put_delivery(&node, &delivery).unwrap();
        }
        for _ in 0..2 {
            record.convert(&node).unwrap();
            assert_eq!(record.installation(&node).unwrap(), Some(current.clone()));
        }
        record.delivery(&node).unwrap()
    }

    #[test]
    fn an_attempt_of_an_earlier_version_allows_the_delivery_once() {
        let allowed = Some(DocumentDelivery::allowed());
        assert_eq!(converted(None, None), allowed);
        assert_eq!(converted(Some(at(50)), None), allowed);
        let installed = Some(InstallStage::Installed);
        assert_eq!(converted(Some(at(50)), installed), allowed);
        for first in [at(100), at(150)] {
            let kept = converted(Some(first), None);
            assert_eq!(kept.and_then(|kept| kept.first), Some(first));
        }
    }

    #[test]
    fn a_conversion_does_not_open_the_document_of_a_healthy_node() {
        let kept = converted(Some(at(50)), Some(InstallStage::Healthy));
        assert_eq!(kept.and_then(|kept| kept.first), Some(at(50)));
    }

    #[test]
    fn a_record_without_a_beginning_is_not_converted() {
        let root = tempfile::tempdir().unwrap();
        let record = Record::new(root.path(), &"demo".parse().unwrap());
        let node: Label = "etcd-1".parse().unwrap();
        record.convert(&node).unwrap();
        assert!(!record.folder().exists(), "the conversion makes the folder");
        let mut installation = Installation::allowed();
        installation.note_sent("t".to_owned(), at(100));
        record.put_installation(&node, &installation).unwrap();
        let delivery = DocumentDelivery {
            first: Some(at(50)),
            ..DocumentDelivery::allowed()
        };
        record.put_delivery(&node, &delivery).unwrap();
        record.convert(&node).unwrap();
        assert_eq!(record.delivery(&node).unwrap(), Some(delivery));
    }
}
