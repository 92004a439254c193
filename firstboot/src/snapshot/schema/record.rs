//! The keys and values of etcd's buckets, as bytes (mvcc/revision.go; api/mvccpb/kv.proto; lease/leasepb/lease.proto).

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// A key of the bucket `key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision {
    pub(crate) main: i64,
    pub(crate) sub: i64,
    /// Whether what was done is that the key was deleted.
    pub(crate) deletion: bool,
}

impl Revision {
    /// Reads the 17 bytes main `_` sub, and the `t` that marks a deletion.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (deletion, bytes) = match bytes.len() {
            17 => (false, bytes),
            18 if bytes[17] == b't' => (true, &bytes[..17]),
            _ => return None,
        };
        let number = |at: usize| bytes[at..at + 8].try_into().ok().map(i64::from_be_bytes);
        let (main, sub) = (number(0)?, number(9)?);
        (bytes[8] == b'_' && main > 0 && sub >= 0).then_some(Self { main, sub, deletion })
    }
}

/// A value of the bucket `key`, but for the user's own value.
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
    /// Reads mvccpb.KeyValue, and nothing but its six fields.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut record = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (field, kind) = decode_key(&mut rest).ok()?;
            match (field, kind) {
                (1, WireType::LengthDelimited) => record.key = take(&mut rest)?,
                (2, WireType::Varint) => record.created = number(&mut rest)?,
                (3, WireType::Varint) => record.modified = number(&mut rest)?,
                (4, WireType::Varint) => record.version = number(&mut rest)?,
                (5, WireType::LengthDelimited) => record.value = take(&mut rest)?.len(),
                (6, WireType::Varint) => record.lease = number(&mut rest)?,
                _ => return None,
            }
        }
        Some(record)
    }
}

/// The ID in a lease's value.
pub(crate) fn lease(bytes: &[u8]) -> Option<i64> {
    let mut id = 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        match decode_key(&mut rest).ok()? {
            (1, WireType::Varint) => id = number(&mut rest)?,
            (field, kind) => skip_field(kind, field, &mut rest, DecodeContext::default()).ok()?,
        }
    }
    Some(id)
}

fn number(rest: &mut &[u8]) -> Option<i64> {
    decode_varint(rest).ok().map(u64::cast_signed)
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}
