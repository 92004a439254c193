//! The disk to install on, given by a name with which `%pre` can find the disk.

use std::fmt;
use std::str::FromStr;

/// A whole disk, without `/dev/`: either the kernel's name for it (`sda`, `nvme0n1`, `cciss/c0d0`),
/// or a udev link under `disk/by-id/` or `disk/by-path/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk(String);

const EXPECTED: &str = "expected a whole disk, as in \"sda\", \"nvme0n1\" or \"/dev/disk/by-id/wwn-0x5000c500a0b1c2d3\"";

/// The prefixes of the kernel's names for some devices. anaconda does not install on these devices,
/// or uses other names for them.
const VIRTUAL: [(&str, &str); 8] = [
    ("dm-", "a device-mapper device"),
    ("md", "a software RAID"),
    ("loop", "a loop device"),
    ("ram", "a RAM disk"),
    ("zram", "the installer's compressed swap"),
    ("sr", "an optical drive"),
    ("fd", "a floppy drive"),
    ("pmem", "persistent memory"),
];

impl FromStr for Disk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("/dev/").unwrap_or(text);
        if let Some(link) = name.strip_prefix("disk/") {
            return udev_link(link).map(|()| Self(name.to_owned()));
        }
        if name.starts_with("mapper/") {
            return Err(
                "the installer cannot use a multipath or device-mapper disk; name a local disk"
                    .to_owned(),
            );
        }
        if text.contains('=') {
            return Err(format!(
                "a label or UUID names a file system, and the installation erases it; {EXPECTED}"
            ));
        }
        let plain = |name: &str| {
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let known = match name.split_once('/') {
            Some((driver, disk)) => {
                ["cciss", "ida", "rd"].contains(&driver) && !disk.is_empty() && plain(disk)
            }
            None => plain(name) && name.starts_with(|c: char| c.is_ascii_lowercase()),
        };
        let numbered = |rest: &str| {
            rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        };
        if let Some((_, what)) = VIRTUAL.iter().find(|(start, _)| {
            name.strip_prefix(start)
                .is_some_and(|rest| numbered(rest) || *start == "dm-")
        }) {
            return Err(format!("this is {what}; {EXPECTED}"));
        }
        if !known {
            return Err(EXPECTED.to_owned());
        }
        match disk_of_partition(name) {
            Some(disk) => Err(format!("this is a partition; name its disk: \"{disk}\"")),
            None => Ok(Self(name.to_owned())),
        }
    }
}

/// Checks a link below /dev/disk.
fn udev_link(link: &str) -> Result<(), String> {
    let Some((folder @ ("by-id" | "by-path"), name)) = link.split_once('/') else {
        return Err(
            "the other links below /dev/disk name file systems or partitions, and the installation \
             erases them; write a link below by-id or by-path"
                .to_owned(),
        );
    };
    let safe = |c: char| c.is_ascii_alphanumeric() || "_.:+-".contains(c);
    if name.is_empty() || name.len() > 200 || !name.chars().all(safe) {
        return Err(format!(
            "expected the name of a link in /dev/disk/{folder}, as `ls /dev/disk/{folder}` shows it"
        ));
    }
    let part = name
        .rsplit_once("-part")
        .filter(|(_, number)| number.parse::<u16>().is_ok());
    part.map_or(Ok(()), |(disk, _)| {
        Err(format!(
            "this is a partition; name its disk: \"/dev/disk/{folder}/{disk}\""
        ))
    })
}

/// Returns the name of the disk that a partition name refers to. The partition's suffix is a number
/// if the disk's name ends with a letter, and otherwise `p` and a number.
fn disk_of_partition(name: &str) -> Option<&str> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == name.len() {
        return None;
    }
    let lettered = ["sd", "vd", "xvd", "hd"].iter().any(|kind| {
        stem.strip_prefix(kind)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase()))
    });
    let counted = stem
        .strip_suffix('p')
        .filter(|disk| disk.ends_with(|c: char| c.is_ascii_digit()));
    if lettered { Some(stem) } else { counted }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_pre_can_find_are_accepted() {
        for (text, name) in [
            ("sda", "sda"),
            ("/dev/sdab", "sdab"),
            ("nvme0n1", "nvme0n1"),
            ("mmcblk0", "mmcblk0"),
            ("xvda", "xvda"),
            ("/dev/cciss/c0d0", "cciss/c0d0"),
            ("/dev/disk/by-id/ata-X_1", "disk/by-id/ata-X_1"),
            (
                "disk/by-path/pci-0000:00:1f.2-ata-1.0",
                "disk/by-path/pci-0000:00:1f.2-ata-1.0",
            ),
        ] {
            assert_eq!(
                text.parse::<Disk>().map(|disk| disk.to_string()),
                Ok(name.to_owned())
            );
        }
    }

    #[test]
    fn a_name_that_matches_no_disk_is_refused_with_advice() {
        for (text, said) in [
            ("sda1", "name its disk: \"sda\""),
            ("/dev/nvme0n1p2", "name its disk: \"nvme0n1\""),
            ("mmcblk0p1", "name its disk: \"mmcblk0\""),
            ("cciss/c0d0p1", "name its disk: \"cciss/c0d0\""),
            (
                "/dev/disk/by-id/wwn-0x5000-part1",
                "name its disk: \"/dev/disk/by-id/wwn-0x5000\"",
            ),
            ("LABEL=root", "a label or UUID"),
            ("UUID=1234", "a label or UUID"),
            ("/dev/disk/by-uuid/1234", "by-id or by-path"),
            ("/dev/disk/by-label/root", "by-id or by-path"),
            ("/dev/mapper/mpatha", "name a local disk"),
            ("mapper/vg-root", "name a local disk"),
            ("dm-0", "device-mapper"),
            ("md127", "software RAID"),
            ("zram0", "compressed swap"),
            ("sr0", "optical"),
            ("SDA", "a whole disk"),
            ("sda,sdb", "a whole disk"),
            ("sd*", "a whole disk"),
            ("0", "a whole disk"),
            ("/dev/", "a whole disk"),
            ("cciss!c0d0", "a whole disk"),
            ("disk/by-id/", "as `ls /dev/disk/by-id` shows it"),
            ("../sda", "a whole disk"),
        ] {
            let error = text.parse::<Disk>().expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
