use std::io::{self, Seek as _, SeekFrom, Write as _};

use proptest::prelude::*;

use super::*;

/// Returns a FAT volume with this label and a file at `path`. Other entries precede the file.
fn fat(
    options: fatfs::FormatVolumeOptions,
    sectors: usize,
    others: u32,
    path: &str,
    content: &[u8],
) -> Vec<u8> {
    let mut image = io::Cursor::new(vec![0; sectors * 512]);
    fatfs::format_volume(&mut image, options.volume_label(*b"CIDATA     ")).unwrap();
    {
        let disk = fatfs::FileSystem::new(&mut image, fatfs::FsOptions::new()).unwrap();
        let mut folder = disk.root_dir();
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        for name in folders.split('/').filter(|name| !name.is_empty()) {
            folder = folder.create_dir(name).unwrap();
        }
        // Add entries that firstboot must skip: a deleted file and other files.
        folder.create_file("removed with a long name").unwrap();
        folder.remove("removed with a long name").unwrap();
        for number in 0..others {
            folder
                .create_file(&format!("another file {number}"))
                .unwrap()
                .write_all(&[b'o'; 700])
                .unwrap();
        }
        folder
            .create_file(name)
            .unwrap()
            .write_all(content)
            .unwrap();
    }
    image.into_inner()
}

fn small(content: &[u8]) -> Vec<u8> {
    fat(
        fatfs::FormatVolumeOptions::new(),
        256,
        3,
        "user-data",
        content,
    )
}

fn read_image(image: &[u8], path: &str) -> Result<Option<Vec<u8>>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    read(file.path(), path)
}

#[test]
fn a_file_is_read_from_each_fat_width() {
    let content: Vec<u8> = (0..30_000u32).map(|number| (number % 251) as u8).collect();
    for (width, sectors) in [
        (fatfs::FatType::Fat12, 2000),
        (fatfs::FatType::Fat16, 20_000),
        (fatfs::FatType::Fat32, 70_000),
    ] {
        let options = || {
            fatfs::FormatVolumeOptions::new()
                .fat_type(width)
                .bytes_per_cluster(512)
        };
        let root = fat(options(), sectors, 40, "user-data", &content);
        assert!(
            read_image(&root, "user-data").unwrap().unwrap() == content,
            "{width:?}"
        );
        assert!(
            read_image(&root, "User-Data").unwrap().is_some(),
            "vfat ignores case when it compares names"
        );
        let below = fat(
            options(),
            sectors,
            40,
            "openstack/latest/user_data",
            &content,
        );
        assert!(
            read_image(&below, "openstack/latest/user_data")
                .unwrap()
                .unwrap()
                == content,
            "{width:?}"
        );
        for absent in [
            "openstack/latest",
            "openstack/user_data",
            "user_data",
            "openstack/latest/user_data/x",
        ] {
            assert!(
                read_image(&below, absent).unwrap().is_none(),
                "{width:?} {absent}"
            );
        }
    }
}

/// Returns a FAT32 volume as `mkfs.vfat -F 32` creates it on a disk of 1 MiB. The volume has fewer
/// clusters than Microsoft's specification requires.
fn small_fat32(content: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 2048 * 512];
    image[..3].copy_from_slice(&[0xEB, 0x58, 0x90]);
    let put = |image: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    // The volume has 512 bytes per sector, 1 sector per cluster, 32 reserved sectors, 2 tables of
    // 16 sectors, and the root folder in cluster 2.
    put(&mut image, 11, &[0, 2, 1, 32, 0, 2, 0, 0]);
    image[21] = 0xF8;
    put(&mut image, 32, &2048u32.to_le_bytes());
    put(&mut image, 36, &16u32.to_le_bytes());
    put(&mut image, 44, &2u32.to_le_bytes());
    let end = 0x0FFF_FFFFu32.to_le_bytes();
    for cluster in [2, 3] {
        put(&mut image, 32 * 512 + cluster * 4, &end);
    }
    let data = (32 + 2 * 16) * 512;
    put(&mut image, data, b"NODE    TXT ");
    put(&mut image, data + 26, &[3, 0]);
    put(
        &mut image,
        data + 28,
        &u32::try_from(content.len()).unwrap().to_le_bytes(),
    );
    put(&mut image, data + 512, content);
    image
}

#[test]
fn a_fat_volume_that_the_kernel_mounts_is_read() {
    assert_eq!(
        read_image(&small_fat32(b"small"), "node.txt")
            .unwrap()
            .unwrap(),
        b"small",
        "a FAT32 volume with few clusters"
    );
    let mut both_counts = small(b"both");
    both_counts[32..36].copy_from_slice(&256u32.to_le_bytes());
    assert_eq!(
        read_image(&both_counts, "user-data").unwrap().unwrap(),
        b"both",
        "both sector counts"
    );
    let mut unsigned = small(b"unsigned");
    unsigned[510..512].fill(0);
    assert_eq!(
        read_image(&unsigned, "user-data").unwrap().unwrap(),
        b"unsigned",
        "no signature in the boot sector"
    );
}

/// Returns an ISO 9660 directory record. `fields` are the Rock Ridge fields.
fn record(name: &[u8], is_directory: bool, block: u32, size: usize, fields: &[u8]) -> Vec<u8> {
    let mut record = vec![0; 33];
    record[2..6].copy_from_slice(&block.to_le_bytes());
    record[10..14].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
    record[25] = if is_directory { 2 } else { 0 };
    record[32] = u8::try_from(name.len()).unwrap();
    record.extend(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record.extend(fields);
    record[0] = u8::try_from(record.len()).unwrap();
    record
}

/// Returns a name in Joliet's encoding.
fn joliet(name: &str) -> Vec<u8> {
    name.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Returns an ISO 9660 disk with two trees. The primary tree contains the file under the first
/// name, with Rock Ridge fields. The Joliet tree contains the file under the second name. The
/// file's content is in sector 21.
fn iso(plain: &str, fields: &[u8], joliet_name: &str, content: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 24 * 2048];
    let mut put = |sector: usize, at: usize, bytes: &[u8]| {
        image[sector * 2048 + at..][..bytes.len()].copy_from_slice(bytes);
    };
    for (sector, kind, root) in [(16, 1, 19), (17, 2, 20), (18, 255, 0)] {
        put(sector, 0, &[kind]);
        put(sector, 1, b"CD001");
        put(sector, 128, &[0, 8]);
        put(sector, 156, &record(&[0], true, root, 2048, &[]));
    }
    put(17, 88, b"%/E");
    for (sector, name, fields) in [
        (19, plain.as_bytes().to_vec(), fields),
        (20, joliet(joliet_name), &[][..]),
    ] {
        let own = record(&[0], true, 19, 2048, &[]);
        let file = record(&name, false, 21, content.len(), fields);
        put(sector, 0, &[own.clone(), own, file].concat());
    }
    // Write the continuation area of the Rock Ridge fields.
    put(22, 100, b"NM\x0a\x01\0-data");
    put(21, 0, content);
    image
}

#[test]
fn a_file_is_read_by_each_kind_of_name() {
    let found = |image: &[u8]| read_image(image, "user-data").unwrap();
    for plain in [
        "USER_DATA.;1",
        "USER_DATA;1",
        "USER-DATA.;1",
        "USER_DAT.;1",
        "user-data",
    ] {
        assert_eq!(
            found(&iso(plain, &[], "x", b"plain")).unwrap(),
            b"plain",
            "{plain}"
        );
    }
    assert_eq!(
        found(&iso(
            "A.;1",
            b"RR\x05\x01\x81NM\x0e\x01\0user-data",
            "x",
            b"rock"
        ))
        .unwrap(),
        b"rock"
    );
    assert_eq!(
        found(&iso("A.;1", &[], "user-data;1", b"joliet")).unwrap(),
        b"joliet"
    );
    let mut continued = b"NM\x09\x01\x01user".to_vec();
    continued.extend(b"CE\x1c\x01");
    for number in [22u32, 100, 10] {
        continued.extend(number.to_le_bytes());
        continued.extend(number.to_be_bytes());
    }
    assert_eq!(
        found(&iso("A.;1", &continued, "x", b"continued")).unwrap(),
        b"continued"
    );
    assert!(found(&iso("A.;1", b"NM\x0a\x01\0other", "x", b"")).is_none());
    assert!(
        found(&iso("USER_DATA.;1", b"NM\x0a\x01\0other", "x", b"")).is_none(),
        "the Rock Ridge name has precedence"
    );
}

#[test]
fn a_disk_with_no_or_a_damaged_file_system_is_reported() {
    for image in [vec![0; 40_000], vec![0xA5; 40_000], vec![]] {
        assert!(read_image(&image, "user-data").is_err());
    }
    let mut circle = small_fat32(&[b'x'; 512]);
    // The chain of the root folder is circular: its only cluster points to itself, and no entry
    // ends the folder.
    circle[32 * 512 + 8..32 * 512 + 12].copy_from_slice(&2u32.to_le_bytes());
    let data = (32 + 2 * 16) * 512;
    circle[data..data + 512].fill(b'x');
    assert!(
        read_image(&circle, "node.txt").unwrap().is_none(),
        "a folder without an end"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_fat_volume_does_not_cause_a_panic(
        flips in prop::collection::vec((0usize..64 * 512, any::<u8>()), 1..30),
        boot in prop::collection::vec((11usize..64, any::<u8>()), 0..6),
        length in 0usize..256 * 512,
    ) {
        let mut image = small(&[b'x'; 9000]);
        for (at, byte) in flips.into_iter().chain(boot) {
            image[at] = byte;
        }
        image.truncate(length.max(512));
        let _ = read_image(&image, "user-data");
        let mut other = small_fat32(&[b'x'; 400]);
        other.truncate(length.max(512));
        let _ = read_image(&other, "node.txt");
    }

    #[test]
    fn a_damaged_iso_9660_disk_does_not_cause_a_panic(
        flips in prop::collection::vec((16usize * 2048..23 * 2048, any::<u8>()), 0..30),
        records in prop::collection::vec((0usize..2, 0usize..200, any::<u8>()), 0..8),
        length in 16usize * 2048..24 * 2048,
    ) {
        let mut image = iso("A.;1", b"NM\x0e\x01\0user-dataCE\x1c\x01", "user-data", &[b'x'; 900]);
        let records = records.into_iter().map(|(tree, at, byte)| ((19 + tree) * 2048 + at, byte));
        for (at, byte) in flips.into_iter().chain(records) {
            image[at] = byte;
        }
        image.truncate(length);
        let _ = read_image(&image, "user-data");
        let _ = read_image(&image, "openstack/latest/user_data");
    }

    #[test]
    fn a_volume_that_fatfs_wrote_is_read(content in prop::collection::vec(any::<u8>(), 0..20_000), name in "[a-z][a-z0-9_-]{0,30}") {
        let image = fat(fatfs::FormatVolumeOptions::new(), 512, 3, &name, &content);
        prop_assert_eq!(read_image(&image, &name).unwrap().unwrap(), content);
    }
}
