//! Reads one file of a FAT volume. This reader accepts the volumes that CentOS 7's kernel mounts
//! (3.10.0-1160, fs/fat/inode.c, `fat_fill_super`), including volumes that Microsoft's
//! specification does not allow. For example, this reader accepts a FAT32 volume with few clusters
//! (such as the volume that `mkfs.vfat -F 32` creates on a small disk), a volume with two different
//! sector counts, and a boot sector without a signature.

use anyhow::{Context as _, Result, ensure};

use super::device::{Disk, checked_size, u16_at, u32_at};

/// The length of a directory entry (fs/fat/fat.h, `msdos_dir_entry`).
const ENTRY: usize = 32;
const DELETED: u8 = 0xE5;
const DIRECTORY: u8 = 0x10;
const VOLUME: u8 = 0x08;
/// The attributes of an entry that contains a part of a long name (`ATTR_EXT`).
const LONG: u8 = 0x0F;
/// The maximum number of clusters in FAT12 (fs/fat/fat.h, `MAX_FAT12`).
const MAX_FAT12: u32 = 0xFF4;
/// The maximum size of a folder in bytes. A folder of this size contains 65,536 entries.
const MAX_FOLDER: usize = ENTRY << 16;

/// Returns the content of the file, or `None` if the volume does not contain the file.
pub(super) fn read(disk: &Disk, path: &str) -> Result<Option<Vec<u8>>> {
    let volume = Volume::open(disk)?;
    let mut folder = volume.root()?;
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        let Some(entry) = find(&folder, name) else {
            return Ok(None);
        };
        let is_last = names.peek().is_none();
        if entry.is_directory == is_last {
            return Ok(None);
        }
        if is_last {
            let size = checked_size(entry.size)?;
            let mut content = volume.chain(entry.cluster, size)?;
            ensure!(
                content.len() >= size,
                "its file system is damaged: {path} ends too early"
            );
            content.truncate(size);
            return Ok(Some(content));
        }
        folder = volume.chain(entry.cluster, MAX_FOLDER)?;
    }
    Ok(None)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

#[derive(Debug)]
struct Volume<'a> {
    disk: &'a Disk,
    width: Width,
    /// The number of bytes in a cluster.
    cluster: u32,
    /// The offset of the allocation table, in bytes.
    table: u64,
    /// The offset and the length in bytes of the fixed root folder of FAT12 and FAT16.
    fixed_root: (u64, usize),
    /// The first cluster of FAT32's root folder.
    root_cluster: u32,
    /// The offset of cluster 2, in bytes.
    data: u64,
    /// The number of the last cluster plus one.
    end: u32,
}

impl<'a> Volume<'a> {
    fn open(disk: &'a Disk) -> Result<Self> {
        let boot = disk.bytes(0, 512)?;
        let sector = u32::from(u16_at(&boot, 11)?);
        let per_cluster = u32::from(boot[13]);
        let reserved = u64::from(u16_at(&boot, 14)?);
        let tables = u64::from(boot[16]);
        let is_fat = sector.is_power_of_two()
            && (512..=4096).contains(&sector)
            && per_cluster.is_power_of_two()
            && reserved > 0
            && tables > 0
            && (boot[21] >= 0xF8 || boot[21] == 0xF0);
        ensure!(is_fat, "it has neither a FAT nor an ISO 9660 file system");
        let root_entries = u16_at(&boot, 17)?;
        ensure!(
            u32::from(root_entries).is_multiple_of(sector / 32),
            "its FAT file system is damaged: the root folder ends inside a sector"
        );
        let (short, long) = (u32::from(u16_at(&boot, 22)?), u32_at(&boot, 36)?);
        let is_32 = short == 0 && long != 0;
        let table_sectors = u64::from(if is_32 { long } else { short });
        let sectors = match u16_at(&boot, 19)? {
            0 => u64::from(u32_at(&boot, 32)?),
            few => few.into(),
        };
        let bytes = u64::from(sector);
        let root = (reserved + tables * table_sectors) * bytes;
        let root_length = usize::from(root_entries) * ENTRY;
        let data = root + root_length as u64;
        let clusters = sectors
            .checked_sub(data / bytes)
            .context("its FAT file system is damaged: the volume does not have room for data")?;
        let clusters = u32::try_from(clusters / u64::from(per_cluster))?;
        let width = match (is_32, clusters > MAX_FAT12) {
            (true, _) => Width::Fat32,
            (false, true) => Width::Fat16,
            (false, false) => Width::Fat12,
        };
        Ok(Self {
            disk,
            width,
            cluster: sector * per_cluster,
            table: reserved * bytes,
            fixed_root: (root, root_length),
            root_cluster: if is_32 { u32_at(&boot, 44)? } else { 0 },
            data,
            end: clusters.saturating_add(2),
        })
    }

    fn root(&self) -> Result<Vec<u8>> {
        match self.width {
            Width::Fat32 => self.chain(self.root_cluster, MAX_FOLDER),
            Width::Fat12 | Width::Fat16 => self.disk.bytes(self.fixed_root.0, self.fixed_root.1),
        }
    }

    /// Reads the content of a chain of clusters, until at least `enough` bytes have been read or
    /// the chain ends.
    fn chain(&self, first: u32, enough: usize) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut next = (enough > 0).then_some(first);
        while let Some(cluster) = next {
            ensure!(
                (2..self.end).contains(&cluster),
                "its FAT file system is damaged: there is no cluster {cluster}"
            );
            let at = self.data + u64::from(cluster - 2) * u64::from(self.cluster);
            let length = usize::try_from(self.cluster)?
                .min((enough - content.len()).next_multiple_of(ENTRY));
            content.extend(self.disk.bytes(at, length)?);
            next = if content.len() < enough {
                self.after(cluster)?
            } else {
                None
            };
        }
        Ok(content)
    }

    /// Returns the next cluster of a chain, or `None` at its end.
    fn after(&self, cluster: u32) -> Result<Option<u32>> {
        let number = u64::from(cluster);
        let (next, end) = match self.width {
            Width::Fat12 => {
                let pair = u16_at(&self.disk.bytes(self.table + number * 3 / 2, 2)?, 0)?;
                (
                    u32::from(if cluster.is_multiple_of(2) {
                        pair & 0xFFF
                    } else {
                        pair >> 4
                    }),
                    0xFF8,
                )
            }
            Width::Fat16 => (
                u32::from(u16_at(&self.disk.bytes(self.table + number * 2, 2)?, 0)?),
                0xFFF8,
            ),
            Width::Fat32 => (
                u32_at(&self.disk.bytes(self.table + number * 4, 4)?, 0)? & 0x0FFF_FFFF,
                0x0FFF_FFF8,
            ),
        };
        Ok((next < end).then_some(next))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    is_directory: bool,
    cluster: u32,
    size: u32,
}

/// Returns the entry with this name. Like vfat, ignores case when it compares names.
fn find(folder: &[u8], name: &str) -> Option<Entry> {
    let mut long = LongName::default();
    for entry in folder.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0) {
        let attributes = entry[11];
        if entry[0] == DELETED {
            long = LongName::default();
        } else if attributes == LONG {
            long.add(entry);
        } else {
            let long = std::mem::take(&mut long).of(entry);
            let is_it = long.is_some_and(|long| long.eq_ignore_ascii_case(name))
                || short_name(entry).eq_ignore_ascii_case(name);
            if is_it && attributes & VOLUME == 0 {
                let half = |at: usize| u16_at(entry, at).map(u32::from).unwrap_or_default();
                return Some(Entry {
                    is_directory: attributes & DIRECTORY != 0,
                    cluster: half(20) << 16 | half(26),
                    size: u32_at(entry, 28).unwrap_or_default(),
                });
            }
        }
    }
    None
}

/// Converts `NAME EXT` to `NAME.EXT`.
fn short_name(entry: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match (text(&entry[..8]), text(&entry[8..11])) {
        (name, extension) if extension.is_empty() => name,
        (name, extension) => format!("{name}.{extension}"),
    }
}

/// A long name. The parts of a long name precede the entry of the short name, in reverse order.
#[derive(Debug, Default)]
struct LongName {
    /// The parts of the name, with their positions.
    parts: Vec<(u8, Vec<u16>)>,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, entry: &[u8]) {
        let (ordinal, checksum) = (entry[0], entry[13]);
        if ordinal & 0x40 != 0 {
            *self = Self {
                parts: Vec::new(),
                checksum,
            };
        } else if self.checksum != checksum {
            self.parts.clear();
            return;
        }
        let units = entry[1..11]
            .chunks_exact(2)
            .chain(entry[14..26].chunks_exact(2))
            .chain(entry[28..32].chunks_exact(2));
        self.parts.push((
            ordinal & 0x3F,
            units
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                .collect(),
        ));
    }

    /// Returns the long name if it belongs to this short entry. The name's parts must be complete,
    /// and the checksum must match.
    fn of(self, entry: &[u8]) -> Option<String> {
        let sum = entry[..11]
            .iter()
            .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let count = u8::try_from(self.parts.len()).ok()?;
        let in_order = self
            .parts
            .iter()
            .map(|(ordinal, _)| *ordinal)
            .eq((1..=count).rev());
        if count == 0 || !in_order || sum != self.checksum {
            return None;
        }
        let units = self
            .parts
            .iter()
            .rev()
            .flat_map(|(_, units)| units)
            .copied();
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        String::from_utf16(&units).ok()
    }
}
