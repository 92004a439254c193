//! Finds disks by their labels.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// Returns the disks with this label, regardless of case. Reads udev's links first, which takes
/// little time. Runs blkid, which reads every disk, only if the folder with udev's links does not
/// exist.
pub(super) fn find(links: &Path, label: &str) -> Result<Vec<PathBuf>> {
    if let Ok(folder) = fs::read_dir(links) {
        let named = folder.flatten().filter(|link| {
            link.file_name()
                .to_string_lossy()
                .eq_ignore_ascii_case(label)
        });
        let mut disks: Vec<PathBuf> = named.map(|link| link.path()).collect();
        disks.sort();
        return Ok(disks);
    }
    // With /dev/null as its cache, blkid does not list a disk that is no longer present.
    let output = Command::new("blkid")
        .args(["-c", "/dev/null", "-o", "export"])
        .stdin(Stdio::null())
        .output()
        .context("cannot run blkid, which finds disks by their label")?;
    Ok(among(&String::from_utf8_lossy(&output.stdout), label))
}

/// Returns the disks with this label in the output of `blkid -o export`, which has one paragraph
/// for each disk.
fn among(listing: &str, label: &str) -> Vec<PathBuf> {
    let mut disks = Vec::new();
    for disk in listing.split("\n\n") {
        let value = |key: &str| {
            disk.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        };
        // A FAT volume stores its label twice. Use the label in the boot sector if the root folder
        // does not contain a label.
        let found = value("LABEL").or_else(|| value("LABEL_FATBOOT"));
        if found.is_some_and(|found| found.eq_ignore_ascii_case(label)) {
            disks.extend(value("DEVNAME").map(PathBuf::from));
        }
    }
    disks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_disk_is_found_by_either_label_in_any_case() {
        let listing = "DEVNAME=/dev/vda1\nLABEL=boot\nTYPE=xfs\n\nDEVNAME=/dev/vdb\nLABEL_FATBOOT=CIDATA\nTYPE=vfat\n\n\
                       DEVNAME=/dev/sr0\nLABEL=cidata\nTYPE=iso9660\n";
        assert_eq!(
            among(listing, "cidata"),
            [PathBuf::from("/dev/vdb"), "/dev/sr0".into()]
        );
        assert!(among("DEVNAME=/dev/vda1\nLABEL=boot\n", "cidata").is_empty());
        assert!(among("DEVNAME=/dev/vda1\nLABEL=cidata2\n", "cidata").is_empty());
        assert!(among("", "cidata").is_empty());
    }

    #[test]
    fn blkid_does_not_run_if_udev_has_created_a_link() {
        let links = tempfile::tempdir().unwrap();
        for name in ["boot", "CONFIG-2", "config-2"] {
            fs::write(links.path().join(name), "").unwrap();
        }
        let found = find(links.path(), "config-2").unwrap();
        assert_eq!(
            found,
            [links.path().join("CONFIG-2"), links.path().join("config-2")]
        );
        assert!(find(links.path(), "cidata").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_listing_causes_a_panic(listing in "(DEVNAME=|LABEL=|LABEL_FATBOOT=|cidata|/dev/x|\\n|\\PC){0,30}") {
            for disk in among(&listing, "cidata") {
                let named = format!("DEVNAME={}", disk.display());
                prop_assert!(listing.contains(&named));
            }
        }
    }
}
