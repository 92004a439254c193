//! A NoCloud seed: a disk image with a FAT file system and the label `cidata`. The same files
//! produce the same bytes.
//!
//! The file system is FAT and not ISO 9660, because the available ISO writers store the current
//! time in the volume.

use std::io::{self, Cursor, Write as _};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use recipes::Sha256;

const SECTOR: usize = 512;

/// An upper bound for the number of sectors that FAT12 needs in addition to the files: the boot
/// sector, two tables of at most 12 sectors each, and the root directory.
const OVERHEAD: usize = 64;

/// The maximum number of clusters of FAT12 (Microsoft's FAT specification, fatgen103). With one
/// sector per cluster, the limit is 2 MB, about a hundred times the size of a node's files.
const MAX_CLUSTERS: usize = 4084;

/// Creates a disk image with these files in its root.
pub(super) fn image(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let data: usize = files
        .iter()
        .map(|(_, bytes)| bytes.len().div_ceil(SECTOR))
        .sum();
    // The size grows in steps, so that a slightly longer certificate usually does not change the
    // size of the disk.
    let sectors = (OVERHEAD + data).next_multiple_of(64);
    let total = u32::try_from(sectors)
        .ok()
        .filter(|_| sectors < MAX_CLUSTERS);
    let total = total.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the files are larger than 2 MB",
        )
    })?;

    let mut everything = Vec::new();
    for (name, bytes) in files {
        everything.extend_from_slice(name.as_bytes());
        everything.extend_from_slice(bytes);
    }
    let digest = Sha256::of(&everything);
    let [a, b, c, d, ..] = *digest.as_bytes();

    let mut disk = vec![0; sectors * SECTOR];
    let options = FormatVolumeOptions::new()
        .total_sectors(total)
        .bytes_per_cluster(512)
        .max_root_dir_entries(16)
        // The disk has one track, so that a reader that checks the geometry of a small disk accepts
        // the image.
        .sectors_per_track(u16::try_from(sectors).unwrap_or(u16::MAX))
        .heads(1)
        .volume_id(u32::from_be_bytes([a, b, c, d]))
        .volume_label(*b"cidata     ");
    format_volume(Cursor::new(disk.as_mut_slice()), options)?;
    {
        // Without fatfs's feature `chrono`, every file is dated 1980-01-01, the earliest date in
        // FAT.
        let volume = FileSystem::new(Cursor::new(disk.as_mut_slice()), FsOptions::new())?;
        for (name, bytes) in files {
            let mut file = volume.root_dir().create_file(name)?;
            file.write_all(bytes)?;
            file.flush()?;
        }
        volume.unmount()?;
    }
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn files_of_any_size_are_read_back() {
        for size in (0..4096)
            .step_by(511)
            .chain((4096..1_900_000).step_by(99_991))
        {
            let bytes = vec![b'x'; size];
            let disk = image(&[("meta-data", b"{}"), ("user-data", &bytes)]).unwrap();
            let volume = FileSystem::new(Cursor::new(disk), FsOptions::new()).unwrap();
            assert_eq!(volume.volume_label(), "cidata");
            let mut read = Vec::new();
            volume
                .root_dir()
                .open_file("user-data")
                .unwrap()
                .read_to_end(&mut read)
                .unwrap();
            assert!(read == bytes, "{size}");
        }
        assert!(image(&[("user-data", &vec![0; 3_000_000])]).is_err());
    }

    #[test]
    fn the_same_files_produce_the_same_bytes_and_other_files_another_volume_id() {
        let [one, again, two] =
            [b"1", b"1", b"2"].map(|bytes| image(&[("user-data", bytes)]).unwrap());
        assert!(one == again && one[0x27..0x2b] != two[0x27..0x2b]);
    }
}
