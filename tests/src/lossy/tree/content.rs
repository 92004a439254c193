//! The content of one inode: names, or bytes in sectors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use nix::errno::Errno;

/// The unit that a disk writes atomically.
const SECTOR: u64 = 512;

pub(in crate::lossy) type Answer<T> = std::result::Result<T, Errno>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lossy) enum Body {
    Folder(BTreeMap<OsString, u64>),
    File {
        size: u64,
        sectors: BTreeMap<u64, Arc<[u8]>>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lossy) struct Content {
    pub(in crate::lossy) mode: u32,
    pub(in crate::lossy) owner: (u32, u32),
    pub(in crate::lossy) body: Body,
}

impl Content {
    pub(super) fn folder(mode: u32, owner: (u32, u32)) -> Self {
        Self {
            mode,
            owner,
            body: Body::Folder(BTreeMap::new()),
        }
    }

    pub(super) fn file(mode: u32, owner: (u32, u32)) -> Self {
        Self {
            mode,
            owner,
            body: Body::File {
                size: 0,
                sectors: BTreeMap::new(),
            },
        }
    }

    /// Returns an inode of the same kind without content.
    pub(super) fn emptied(&self) -> Self {
        match self.body {
            Body::Folder(_) => Self::folder(self.mode, self.owner),
            Body::File { .. } => Self::file(self.mode, self.owner),
        }
    }

    pub(in crate::lossy) fn is_folder(&self) -> bool {
        matches!(self.body, Body::Folder(_))
    }

    pub(super) fn read(&self, offset: u64, count: u64) -> Answer<Vec<u8>> {
        let Body::File { size, sectors } = &self.body else {
            return Err(Errno::EISDIR);
        };
        let end = (offset + count).min(*size);
        let mut bytes = Vec::new();
        let mut position = offset;
        while position < end {
            let (sector, within) = (position / SECTOR, position % SECTOR);
            let next = ((sector + 1) * SECTOR).min(end);
            let range = usize_of(within)..usize_of(within + next - position);
            match sectors.get(&sector) {
                Some(sector) => bytes.extend_from_slice(&sector[range]),
                None => bytes.resize(bytes.len() + range.len(), 0),
            }
            position = next;
        }
        Ok(bytes)
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Answer<()> {
        let Body::File { size, sectors } = &mut self.body else {
            return Err(Errno::EISDIR);
        };
        let mut rest = bytes;
        let mut position = offset;
        while !rest.is_empty() {
            let (number, within) = (position / SECTOR, usize_of(position % SECTOR));
            let (first, others) = rest.split_at(rest.len().min(usize_of(SECTOR) - within));
            let old = sectors
                .get(&number)
                .map_or_else(|| vec![0; usize_of(SECTOR)], |sector| sector.to_vec());
            let mut sector = old;
            sector[within..within + first.len()].copy_from_slice(first);
            sectors.insert(number, sector.into());
            position += first.len() as u64;
            rest = others;
        }
        *size = position.max(*size);
        Ok(())
    }

    pub(super) fn resize(&mut self, to: u64) -> Answer<()> {
        let Body::File { size, sectors } = &mut self.body else {
            return Err(Errno::EISDIR);
        };
        *size = to;
        sectors.split_off(&to.div_ceil(SECTOR));
        // The bytes after the end must be zero, because the file can grow again.
        if let Some(last) = sectors.get_mut(&(to / SECTOR)) {
            let mut bytes = last.to_vec();
            bytes[usize_of(to % SECTOR)..].fill(0);
            *last = bytes.into();
        }
        Ok(())
    }

    /// Returns a file with the current length, in which each changed sector is either new or old.
    pub(super) fn mixed(&self, kept: &Self, mut is_new: impl FnMut() -> bool) -> Self {
        let (Body::File { size, sectors: new }, Body::File { sectors: old, .. }) =
            (&self.body, &kept.body)
        else {
            return self.clone();
        };
        let mut sectors = BTreeMap::new();
        for (number, sector) in new {
            let sector = if old.get(number) == Some(sector) || is_new() {
                Some(sector)
            } else {
                old.get(number)
            };
            sectors.extend(sector.map(|sector| (*number, sector.clone())));
        }
        Self {
            body: Body::File {
                size: *size,
                sectors,
            },
            ..self.clone()
        }
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
