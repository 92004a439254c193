//! Parses the keys and values of the bucket `key` (mvcc/revision.go, api/mvccpb/kv.proto).

use super::wire::{Fields, Malformed};

/// A key of the bucket `key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision {
    pub(crate) main: i64,
    pub(crate) sub: i64,
    /// Whether the change deleted the key.
    pub(crate) deletion: bool,
}

impl Revision {
    /// Parses 17 bytes (the main revision, `_` and the sub-revision) and an optional `t`, which
    /// marks a deletion.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (deletion, bytes) = match bytes.len() {
            17 => (false, bytes),
            18 if bytes[17] == b't' => (true, &bytes[..17]),
            _ => return None,
        };
        let number = |at: usize| bytes[at..at + 8].try_into().ok().map(i64::from_be_bytes);
        let (main, sub) = (number(0)?, number(9)?);
        (bytes[8] == b'_' && main >= 0 && sub >= 0).then_some(Self {
            main,
            sub,
            deletion,
        })
    }
}

/// A value of the bucket `key`, without the content of the user's value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) created: i64,
    pub(crate) modified: i64,
    pub(crate) version: i64,
    pub(crate) value: usize,
    pub(crate) lease: i64,
}

impl<'a> Record<'a> {
    /// Parses an `mvccpb.KeyValue` message.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        Self::read(bytes).ok()
    }

    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut record = Self::default();
        let mut fields = Fields::of(bytes, 0);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => record.key = value.some_bytes()?,
                2 => record.created = value.number()?.cast_signed(),
                3 => record.modified = value.number()?.cast_signed(),
                4 => record.version = value.number()?.cast_signed(),
                5 => record.value = value.some_bytes()?.len(),
                6 => record.lease = value.number()?.cast_signed(),
                _ => return Err(Malformed),
            }
        }
        Ok(record)
    }

    /// Checks the record of this revision. Returns the expected content if the record is invalid.
    pub(crate) fn fault(&self, revision: Revision) -> Option<&'static str> {
        let Self {
            created,
            modified,
            version,
            ..
        } = *self;
        if self.key.is_empty() {
            return Some("a key that is not empty");
        }
        if revision.deletion {
            let deleted = Record {
                key: self.key,
                ..Record::default()
            };
            return (*self != deleted).then_some("only the key, because the entry is a deletion");
        }
        if modified != revision.main {
            return Some("a mod_revision that equals the revision in the entry's key");
        }
        // Each put of a key increments the key's version and has a new revision.
        let fits = created >= 1 && version >= 1 && version - 1 <= modified - created;
        (!fits).then_some("a create_revision of at least 1, and a version not above mod_revision - create_revision + 1")
    }
}
