//! What each node was given, and when: a file for each, beside the output, so that a machine is not installed twice and a
//! document not handed out for ever. Whoever removes a node's folder has it given all anew.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use recipes::Label;
use tempfile::NamedTempFile;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a node is given once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gift {
    /// The kickstart, by which its disk is wiped.
    Kickstart,
    /// Its document, which holds its keys.
    Document,
}

impl Gift {
    fn file(self) -> &'static str {
        match self {
            Self::Kickstart => "kickstart",
            Self::Document => "document",
        }
    }
}

/// The folder of all nodes'.
#[derive(Debug, Clone)]
pub(super) struct Record(PathBuf);

impl Record {
    /// Beside an output: `out` has `out.served`.
    pub(super) fn beside(out: &Path) -> Self {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(".served");
        Self(out.with_file_name(name))
    }

    /// The folder of one node's.
    pub(super) fn folder(&self, node: &Label) -> PathBuf {
        self.0.join(node.as_str())
    }

    /// Since when a node has it.
    pub(super) fn given(&self, node: &Label, gift: Gift) -> Result<Option<SystemTime>> {
        let path = self.folder(node).join(gift.file());
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let time = OffsetDateTime::parse(text.trim(), &Rfc3339);
        let time = time.with_context(|| format!("{} holds no time; remove it to give all anew", path.display()))?;
        Ok(Some(time.into()))
    }

    /// Writes down that it is given now, unless it was before.
    pub(super) fn give(&self, node: &Label, gift: Gift, now: SystemTime) -> Result<()> {
        if self.given(node, gift)?.is_some() {
            return Ok(());
        }
        let folder = self.folder(node);
        let text = OffsetDateTime::from(now).format(&Rfc3339)? + "\n";
        let write = || -> io::Result<()> {
            fs::create_dir_all(&folder)?;
            let mut file = NamedTempFile::new_in(&folder)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(folder.join(gift.file()))?;
            File::open(&folder)?.sync_all()
        };
        write().with_context(|| format!("cannot write down in {} what {node} was given", folder.display()))
    }
}

/// Whether what was given is still given: to a machine that asks again, since the answer was lost or its power.
pub(super) fn is_open(given: Option<SystemTime>, now: SystemTime, window: Duration) -> bool {
    // A clock that was set back closes nothing.
    given.is_none_or(|since| now.duration_since(since).unwrap_or_default() <= window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_known_until_the_folder_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let record = Record::beside(&root.path().join("out"));
        let node: Label = "etcd-1".parse().unwrap();
        let first = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert_eq!(record.given(&node, Gift::Document).unwrap(), None);
        record.give(&node, Gift::Document, first).unwrap();
        record.give(&node, Gift::Document, first + Duration::from_secs(60)).unwrap();
        assert_eq!(record.given(&node, Gift::Document).unwrap(), Some(first), "the first time counts");
        assert_eq!(record.given(&node, Gift::Kickstart).unwrap(), None);
        assert!(root.path().join("out.served/etcd-1/document").is_file());
        fs::write(root.path().join("out.served/etcd-1/document"), "yesterday").unwrap();
        let error = format!("{:#}", record.given(&node, Gift::Document).unwrap_err());
        assert!(error.contains("document holds no time; remove it"), "{error}");
        fs::remove_dir_all(record.folder(&node)).unwrap();
        assert_eq!(record.given(&node, Gift::Document).unwrap(), None);
    }

    #[test]
    fn who_asks_again_in_time_is_given_it_again() {
        let (begun, window) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1000), Duration::from_secs(900));
        for (given, now, open) in
            [(None, 0, true), (Some(begun), 1900, true), (Some(begun), 1901, false), (Some(begun), 5, true)]
        {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            assert_eq!(is_open(given, now, window), open, "{given:?} at {now:?}");
        }
    }
}
