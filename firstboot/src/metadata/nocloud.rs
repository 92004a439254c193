//! NoCloud's seed: a folder, or a disk (vfat or iso9660) labelled `cidata`, with the document in `user-data`.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::document::{Found, LIMIT};
use crate::files::{self, DesiredDir};

const FOLDERS: [&str; 2] = ["/var/lib/cloud/seed/nocloud", "/var/lib/cloud/seed/nocloud-net"];

pub(super) fn find() -> Result<Option<Found>> {
    for folder in FOLDERS {
        let path = Path::new(folder).join("user-data");
        if path.exists() {
            return Found::parse(path.display().to_string(), &files::read_bounded(&path, LIMIT)?).map(Some);
        }
    }
    seed_disk()?.map_or(Ok(None), |disk| read_disk(&disk).map(Some))
}

/// The disk labelled `cidata`. udev's links are asked first, since they cost nothing; blkid, which reads every disk,
/// only where udev does not run or has not come that far.
fn seed_disk() -> Result<Option<PathBuf>> {
    if let Ok(labels) = fs::read_dir("/dev/disk/by-label") {
        let seed = labels.flatten().find(|entry| is_seed(&entry.file_name().to_string_lossy()));
        return Ok(seed.map(|entry| entry.path()));
    }
    // The null cache keeps blkid from answering with a disk that was there yesterday.
    let output = Command::new("blkid")
        .args(["-c", "/dev/null", "-o", "export"])
        .stdin(Stdio::null())
        .output()
        .context("cannot run blkid, which looks for the seed disk")?;
    Ok(seed_among(&String::from_utf8_lossy(&output.stdout)))
}

/// The seed among the disks that `blkid -o export` lists, a paragraph each.
fn seed_among(listing: &str) -> Option<PathBuf> {
    listing.split("\n\n").find_map(|disk| {
        let value = |key: &str| disk.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        // vfat keeps its label twice; where the one in the root folder is lost, the one in the boot sector counts.
        let label = value("LABEL").or_else(|| value("LABEL_FATBOOT"))?;
        value("DEVNAME").filter(|_| is_seed(label)).map(PathBuf::from)
    })
}

fn is_seed(label: &str) -> bool {
    label.eq_ignore_ascii_case("cidata")
}

fn read_disk(disk: &Path) -> Result<Found> {
    let place = format!("user-data on the seed disk {}", disk.display());
    let damaged = || format!("{place} cannot be read: make the disk again from seed.img");
    let file = File::open(disk).with_context(|| format!("cannot open the seed disk {}", disk.display()))?;
    let mut magic = [0; 5];
    // ISO 9660's first volume descriptor is in sector 16, its name behind the type byte (ECMA-119, 8.1).
    let iso = file.read_exact_at(&mut magic, 16 * 2048 + 1).is_ok() && &magic == b"CD001";
    let bytes = if iso { from_iso(disk) } else { from_fat(disk) }.with_context(damaged)?;
    Found::parse(place, &bytes)
}

/// vfat is read here and not mounted: nothing of a stranger's disk reaches the kernel, and no module is needed. The
/// library panics on some impossible sizes, so a process of its own reads it.
fn from_fat(disk: &Path) -> Result<Vec<u8>> {
    let output = Command::new("/proc/self/exe")
        .arg("seed")
        .arg(disk)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .output()
        .context("cannot run the reader of seed disks")?;
    match output.status.code() {
        Some(0) => Ok(output.stdout),
        Some(_) => bail!("{}", String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("firstboot: ")),
        None => bail!("its file system is damaged"),
    }
}

/// That process: writes the document of a vfat disk to its output.
///
/// # Errors
/// Where the disk has none, or is damaged; or it dies of the damage.
pub(crate) fn print(disk: &Path) -> Result<()> {
    io::stdout().write_all(&read_fat(File::open(disk)?)?).context("cannot write it")
}

fn read_fat(disk: File) -> Result<Vec<u8>> {
    let disk = fatfs::FileSystem::new(Bounded { disk, left: 16 * LIMIT }, fatfs::FsOptions::new())?;
    let mut bytes = Vec::new();
    disk.root_dir().open_file("user-data")?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A disk of which only so much is read: a chain of clusters may be a circle.
struct Bounded {
    disk: File,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.disk.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other("its chains have no end"))?;
        Ok(count)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.disk.seek(to)
    }
}

/// What the library's types ask for; the disk is open for reading only.
impl Write for Bounded {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn from_iso(disk: &Path) -> Result<Vec<u8>> {
    let point = Path::new("/run/firstboot/seed");
    DesiredDir::new(point, 0o700, files::ROOT).make()?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(disk), point, Some("iso9660"), flags, None::<&str>).context("it cannot be mounted")?;
    let bytes = files::read_bounded(&point.join("user-data"), LIMIT);
    umount2(point, MntFlags::MNT_DETACH)?;
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn image(user_data: &[u8]) -> Vec<u8> {
        let mut image = io::Cursor::new(vec![0; 64 * 512]);
        fatfs::format_volume(&mut image, fatfs::FormatVolumeOptions::new().volume_label(*b"CIDATA     ")).unwrap();
        {
            let disk = fatfs::FileSystem::new(&mut image, fatfs::FsOptions::new()).unwrap();
            disk.root_dir().create_file("user-data").unwrap().write_all(user_data).unwrap();
        }
        image.into_inner()
    }

    fn read_image(image: &[u8]) -> Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(image).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        read_fat(file)
    }

    #[test]
    fn a_seed_is_read_without_mounting_it() {
        assert_eq!(read_image(&image(b"{}")).unwrap(), b"{}");
        assert!(is_seed("CIDATA") && is_seed("cidata") && !is_seed("cidata2"));
    }

    #[test]
    fn the_seed_is_found_by_either_label() {
        let listing = "DEVNAME=/dev/vda1\nLABEL=boot\nTYPE=xfs\n\nDEVNAME=/dev/vdb\nLABEL_FATBOOT=CIDATA\nTYPE=vfat\n";
        assert_eq!(seed_among(listing), Some("/dev/vdb".into()));
        assert_eq!(seed_among("DEVNAME=/dev/vda1\nLABEL=boot\n"), None);
        assert_eq!(seed_among(""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_damaged_seed_is_an_error_or_ends_its_reader(
            flips in prop::collection::vec((0usize..4096, any::<u8>()), 1..30),
            length in 0usize..64 * 512,
        ) {
            let mut image = image(&[b'x'; 9000]);
            for (at, byte) in flips {
                image[at] = byte;
            }
            image.truncate(length.max(512));
            let _ = std::panic::catch_unwind(|| read_image(&image));
        }
    }
}
