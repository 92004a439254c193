//! Reads one file of an ISO 9660 disk (ECMA-119), by its Rock Ridge, Joliet or plain name.

use anyhow::{Context as _, Result, ensure};

use super::device::{Disk, array, checked_size, u16_at, u32_at};

/// The size of a sector, which is also the size of a descriptor. Descriptors start at sector
/// `FIRST_DESCRIPTOR` (ECMA-119, 6.2.1).
const SECTOR: usize = 2048;
const FIRST_DESCRIPTOR: u64 = 16;
/// The maximum number of descriptors, which is more than any real disk contains.
const MAX_DESCRIPTORS: u64 = 64;
/// The maximum size of a folder in bytes. A folder of 1 MiB has room for thousands of entries.
const MAX_FOLDER: u32 = 1 << 20;
/// The maximum number of areas from which the Rock Ridge fields of one entry are read. The record
/// itself counts as the first area. No real entry needs more areas.
const MAX_CONTINUATIONS: usize = 8;
/// The length of the part of a record that precedes the name (ECMA-119, 9.1).
const RECORD: usize = 33;

/// Returns whether the disk has an ISO 9660 file system. The identifier of the first descriptor
/// follows the descriptor's type.
pub(super) fn is_iso(disk: &Disk) -> bool {
    disk.bytes(FIRST_DESCRIPTOR * SECTOR as u64 + 1, 5)
        .is_ok_and(|magic| magic == b"CD001")
}

/// Returns the content of the file, or `None` if the disk does not contain the file.
pub(super) fn read(disk: &Disk, path: &str) -> Result<Option<Vec<u8>>> {
    let mut trees = trees(disk)?;
    // Try the primary tree, which contains the Rock Ridge names and the plain names, before a
    // Joliet tree, which the disk may also contain.
    trees.sort_by_key(|tree| tree.names);
    for tree in trees {
        if let Some(content) = tree.read(path)? {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Names {
    Primary,
    Joliet,
}

/// A tree of folders.
#[derive(Debug)]
struct Tree<'a> {
    disk: &'a Disk,
    names: Names,
    /// The number of bytes in a logical block.
    block: u32,
    root: Entry,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    is_directory: bool,
    /// The first logical block of the entry's content.
    block: u32,
    size: u32,
}

fn trees(disk: &Disk) -> Result<Vec<Tree<'_>>> {
    let mut trees = Vec::new();
    for number in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + MAX_DESCRIPTORS {
        let descriptor = disk.bytes(number * SECTOR as u64, SECTOR)?;
        ensure!(
            descriptor[1..6] == *b"CD001",
            "its ISO 9660 file system is damaged: its list of volume descriptors is not terminated"
        );
        let names = match descriptor[0] {
            1 => Names::Primary,
            2 if matches!(descriptor[88..91], [b'%', b'/', b'@' | b'C' | b'E']) => Names::Joliet,
            255 => break,
            _ => continue,
        };
        let block = u32::from(u16_at(&descriptor, 128)?);
        ensure!(
            matches!(block, 512 | 1024 | 2048),
            "its ISO 9660 file system is damaged: its block size is {block} bytes, expected 512, \
             1024 or 2048"
        );
        trees.push(Tree {
            disk,
            names,
            block,
            root: Entry::parse(&descriptor[156..190])?,
        });
    }
    ensure!(
        !trees.is_empty(),
        "its ISO 9660 file system is damaged: it has no primary volume descriptor"
    );
    Ok(trees)
}

impl Entry {
    /// Parses a directory record (ECMA-119, 9.1). The numbers in a record are stored in both byte
    /// orders, little-endian first.
    fn parse(record: &[u8]) -> Result<Self> {
        let attributes: [u8; 1] = array(record, 1)?;
        let flags: [u8; 1] = array(record, 25)?;
        let block = u32_at(record, 2)?
            .checked_add(attributes[0].into())
            .context("its ISO 9660 file system is damaged")?;
        Ok(Self {
            is_directory: flags[0] & 2 != 0,
            block,
            size: u32_at(record, 10)?,
        })
    }
}

impl Tree<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let mut entry = self.root;
        for name in path.split('/') {
            if !entry.is_directory {
                return Ok(None);
            }
            ensure!(
                entry.size <= MAX_FOLDER,
                "its ISO 9660 file system is damaged: a folder has {} bytes, more than the limit of \
                 {MAX_FOLDER}",
                entry.size
            );
            let folder = self.content(entry, usize::try_from(entry.size)?)?;
            match self.find(&folder, name)? {
                Some(found) => entry = found,
                None => return Ok(None),
            }
        }
        if entry.is_directory {
            return Ok(None);
        }
        self.content(entry, checked_size(entry.size)?).map(Some)
    }

    fn content(&self, entry: Entry, size: usize) -> Result<Vec<u8>> {
        self.disk
            .bytes(u64::from(entry.block) * u64::from(self.block), size)
    }

    fn find(&self, folder: &[u8], name: &str) -> Result<Option<Entry>> {
        let mut at = 0;
        while let Some(length) = folder.get(at).map(|length| usize::from(*length)) {
            if length == 0 {
                // A record never crosses a sector boundary, and the rest of the sector is filled
                // with zeros (ECMA-119, 6.8.1.1).
                at = (at + 1).next_multiple_of(SECTOR);
                continue;
            }
            let record = folder
                .get(at..at + length)
                .context("its ISO 9660 file system is damaged: a record ends too early")?;
            at += length;
            if length > RECORD && self.is_named(record, name)? {
                return Entry::parse(record).map(Some);
            }
        }
        Ok(None)
    }

    fn is_named(&self, record: &[u8], name: &str) -> Result<bool> {
        let length = usize::from(record[RECORD - 1]);
        let own = record
            .get(RECORD..RECORD + length)
            .context("its ISO 9660 file system is damaged: a name ends too early")?;
        if self.names == Names::Joliet {
            let units: Vec<u16> = own
                .chunks_exact(2)
                .map(|unit| u16::from_be_bytes([unit[0], unit[1]]))
                .collect();
            return Ok(String::from_utf16(&units)
                .is_ok_and(|own| without_version(&own).eq_ignore_ascii_case(name)));
        }
        // The name is padded so that the Rock Ridge fields begin at an even offset.
        let fields = record
            .get((RECORD + length).next_multiple_of(2)..)
            .unwrap_or_default();
        Ok(match self.rock_ridge_name(fields)? {
            Some(long) => long.eq_ignore_ascii_case(name.as_bytes()),
            None => is_plain_name(without_version(&String::from_utf8_lossy(own)), name),
        })
    }

    /// Returns the name in the Rock Ridge fields (IEEE P1282, 4.1.4). The list of fields may
    /// continue elsewhere on the disk (P1281, 5.1).
    fn rock_ridge_name(&self, fields: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut name: Option<Vec<u8>> = None;
        let mut area = fields.to_vec();
        for _ in 0..MAX_CONTINUATIONS {
            let mut next = None;
            let mut rest = area.as_slice();
            while let Some((length, field)) = field(rest) {
                match (&field[..2], field) {
                    // The field's flags follow its header of four bytes. The flags 2 and 4 mean `.`
                    // and `..`.
                    (b"NM", [_, _, _, _, flags, part @ ..]) if flags & 6 == 0 => {
                        name.get_or_insert_default().extend(part);
                    }
                    (b"CE", _) => {
                        next = Some((u32_at(field, 4)?, u32_at(field, 12)?, u32_at(field, 20)?));
                    }
                    _ => {}
                }
                rest = &rest[length..];
            }
            let Some((block, offset, length)) = next else {
                return Ok(name);
            };
            ensure!(
                length <= u32::try_from(SECTOR)?,
                "its Rock Ridge extension is damaged: a continuation area has {length} bytes, more \
                 than one sector"
            );
            let at = u64::from(block) * u64::from(self.block) + u64::from(offset);
            area = self.disk.bytes(at, usize::try_from(length)?)?;
        }
        Ok(name)
    }
}

/// Returns the length and the bytes of the first field of an area, or `None` if the area does not
/// begin with a complete field.
fn field(area: &[u8]) -> Option<(usize, &[u8])> {
    let length = usize::from(*area.get(2)?);
    let field = area.get(..length).filter(|_| length >= 4)?;
    Some((length, field))
}

/// Strips the version from `NAME.EXT;1`, and the dot before an empty extension.
fn without_version(name: &str) -> &str {
    let name = name.split(';').next().unwrap_or_default();
    name.strip_suffix('.').unwrap_or(name)
}

/// Returns whether a plain ISO 9660 name corresponds to the wanted name. Plain names consist of
/// capital letters, digits and underscores, and have at most eight characters at level 1:
/// `user-data` becomes `USER_DATA` or `USER_DAT`.
fn is_plain_name(own: &str, wanted: &str) -> bool {
    let plain: String = wanted
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let eight = plain
        .get(..8)
        .filter(|_| !plain.contains('.'))
        .unwrap_or(&plain);
    [wanted, &plain, eight]
        .iter()
        .any(|name| own.eq_ignore_ascii_case(name))
}
