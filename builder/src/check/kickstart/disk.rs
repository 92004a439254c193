//! Finds options that refer to a disk by its kernel name. A kernel name depends on the driver and
//! the order of discovery (packer#7320: the kickstart names sda, the disk is vda, and the only
//! symptom is a timeout). If a disk does not exist, anaconda stops (rhel7-branch,
//! pyanaconda/kickstart.py, parse of IgnoreDisk and ClearPart, execute of Bootloader and PartData).

use super::options::GivenOption;
use crate::check::finding::Finding;

/// The options that accept disks or partitions, in any command.
const OPTIONS: &[&str] = &[
    "--drives",
    "--only-use",
    "--list",
    "--boot-drive",
    "--ondisk",
    "--onpart",
];

pub(super) fn names(given: &[GivenOption], out: &mut Vec<Finding>) {
    for given in given.iter().filter(|given| {
        OPTIONS
            .iter()
            .any(|option| given.option.names.contains(option))
    }) {
        let Some(name) = given
            .value
            .iter()
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .find(|name| kernel(name))
        else {
            continue;
        };
        out.push(
            Finding::warning(
                "kickstart/disk-name",
                given.span.clone(),
                format!("the name {name} depends on the kind of disk and on the order in which the kernel finds the disks"),
            )
            .effect("anaconda stops if no disk has this name; virtio disks are named vda, vdb, …, and NVMe disks nvme0n1, nvme1n1, …")
            .fix("write /dev/disk/by-path/…, or let %pre find the disk and write a file, and use %include with that file"),
        );
    }
}

/// Returns whether a name is a kernel name and not a pattern.
fn kernel(name: &str) -> bool {
    let name = name.strip_prefix("/dev/").unwrap_or(name);
    let lettered = ["xvd", "sd", "hd", "vd"]
        .iter()
        .find_map(|kind| name.strip_prefix(kind))
        .is_some_and(|rest| {
            let number = rest.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
            number.len() < rest.len() && number.bytes().all(|digit| digit.is_ascii_digit())
        });
    let counted = ["nvme", "mmcblk"]
        .iter()
        .find_map(|kind| name.strip_prefix(kind))
        .is_some_and(|rest| {
            rest.starts_with(|digit: char| digit.is_ascii_digit())
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
    lettered || counted
}
