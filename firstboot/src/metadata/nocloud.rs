//! NoCloud's seed: a folder, or a disk (vfat or iso9660) labelled `cidata`, with the document in `user-data`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Found, LIMIT};
use crate::files;

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
    for label in ["cidata", "CIDATA"] {
        // The null cache keeps blkid from answering with a disk that was there yesterday.
        let output = Command::new("blkid")
            .args(["-c", "/dev/null", "-t", &format!("LABEL={label}"), "-o", "device"])
            .stdin(Stdio::null())
            .output()
            .context("cannot run blkid, which looks for the seed disk")?;
        if let Some(device) = String::from_utf8_lossy(&output.stdout).lines().next() {
            return Ok(Some(device.into()));
        }
    }
    Ok(None)
}

fn is_seed(label: &str) -> bool {
    label.eq_ignore_ascii_case("cidata")
}

fn read_disk(disk: &Path) -> Result<Found> {
    let mounted = Mounted::read_only(disk)?;
    let place = format!("user-data on the seed disk {}", disk.display());
    let bytes = files::read_bounded(&mounted.point.join("user-data"), LIMIT).with_context(|| format!("no {place}"))?;
    Found::parse(place, &bytes)
}

/// A file system that is unmounted when this goes.
struct Mounted {
    point: PathBuf,
}

impl Mounted {
    fn read_only(disk: &Path) -> Result<Self> {
        let point = PathBuf::from("/run/firstboot/seed");
        fs::create_dir_all(&point).with_context(|| format!("cannot make {}", point.display()))?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let attempt = |kind: &str| mount(Some(disk), &point, Some(kind), flags, None::<&str>);
        attempt("vfat").or_else(|_| attempt("iso9660")).with_context(|| {
            let disk = disk.display();
            format!("the seed disk {disk} is neither vfat nor iso9660, or is damaged: make it anew from seed.img")
        })?;
        Ok(Self { point })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.point, MntFlags::MNT_DETACH);
    }
}
