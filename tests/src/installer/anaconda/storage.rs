//! Models `execute` of ui/tui/spokes/storage.py, which runs doKickstartStorage (kickstart.py), and
//! then StorageChecker (storage_utils.py).

use std::collections::BTreeMap;

use super::super::hardware::{Disk, Hardware, Quirk};
use super::super::kickstart::Command;
use super::data::Data;
use super::types::{Failure, Partition, Plan, Volume};
use super::{automatic, commands, volumes};

/// The last sector at which a partition in an MBR can start (libparted).
const MBR_SECTORS: u64 = 0xffff_ffff;

/// Decides how the disks are used. If the check finds errors, the storage spoke stays incomplete.
/// In cmdline mode, an incomplete spoke ends anaconda (ui/tui/hubs/summary.py, prompt).
pub(super) fn decide(
    data: &Data,
    hardware: &Hardware,
    words: &str,
    plan: &mut Plan,
) -> Result<(), Failure> {
    if data.parts.is_empty() && data.volumes.is_empty() {
        // anaconda would end with an error here. The model continues, because tests of other
        // features omit the storage commands.
        return Ok(());
    }
    let usable: Vec<&Disk> = hardware
        .disks
        .iter()
        .filter(|disk| {
            !disk.is(Quirk::Virtual)
                && (data.only_use.is_empty() || data.only_use.iter().any(|name| names(name, disk)))
        })
        .collect();
    for disk in &usable {
        plan.labels
            .push((disk.name.clone(), label(data, hardware, disk, words)));
    }
    let first = usable
        .first()
        .map(|disk| disk.name.clone())
        .unwrap_or_default();
    automatic::make(data, hardware, &usable, plan).map_err(late)?;
    for part in &data.parts {
        let mut made = partition(part, &first).map_err(late)?;
        if let Some(name) = part.option("--onpart") {
            reuse(&mut made, part, name, &usable).map_err(late)?;
        } else if part.has("--noformat") {
            return Err(late("part --noformat must also use the --onpart option."));
        }
        plan.partitions.push(made);
    }
    plan.partitions.sort();
    let free = allocate(plan, &usable).map_err(late)?;
    volumes::make(data, &first, &free, plan).map_err(late)?;
    if !data.boot.none && !data.boot.disabled {
        boot_loader(data, hardware, first, plan).map_err(late)?;
    }
    check(plan, hardware).map_err(late)
}

/// Models `device_matches` in storage_utils.py: accepts a name with or without /dev/, or a udev
/// symlink.
fn names(name: &str, disk: &Disk) -> bool {
    let name = name.strip_prefix("/dev/").unwrap_or(name);
    disk.name == name || disk.links.iter().any(|link| link == name)
}

fn late(error: impl std::fmt::Display) -> Failure {
    let message = "CmdlineError: The following mandatory spokes are not completed:\nStorage configuration failed";
    Failure::Late(format!("{message}: {error}"))
}

/// Models `bestDiskLabelType` in blivet's platform.py. ClearPart.execute and inst.gpt can change
/// the default type of partition table.
fn label(data: &Data, hardware: &Hardware, disk: &Disk, words: &str) -> &'static str {
    let gpt = words.split_whitespace().any(|word| word == "inst.gpt");
    let prefers_gpt = data
        .disk_label
        .as_deref()
        .map_or(gpt, |label| label == "gpt");
    if !disk.partitions.is_empty() && !data.relabels {
        return disk.table;
    }
    let too_large = disk.bytes / u64::from(disk.block) >= MBR_SECTORS;
    if hardware.efi || prefers_gpt || too_large {
        "gpt"
    } else {
        "msdos"
    }
}

/// Models `PartitionData.execute` in kickstart.py.
fn partition(part: &Command, first: &str) -> Result<Partition, String> {
    let mount = part
        .arguments
        .iter()
        .find(|argument| !argument.starts_with("--"))
        .ok_or("part does not name a mount point")?;
    let efi = mount == "/boot/efi";
    let kind = match mount.as_str() {
        _ if efi => "efi".to_owned(),
        "biosboot" => "biosboot".to_owned(),
        _ => commands::format(part, mount)?,
    };
    let is_member = ["lvmpv", "mdmember", "btrfs"].contains(&kind.as_str());
    // The EFI partition gets these options, regardless of the options on the line.
    let given = part.option("--fsoptions").unwrap_or("defaults");
    let options = if efi {
        "defaults,uid=0,gid=0,umask=0077,shortname=winnt"
    } else {
        given
    };
    let has_options = !["biosboot", "lvmpv", "mdmember", "swap"].contains(&kind.as_str());
    Ok(Partition {
        mount: if is_member && !mount.starts_with('/') {
            kind.clone()
        } else {
            mount.clone()
        },
        mib: commands::part_size(part),
        grows: part.has("--grow"),
        label: part.option("--label").map(str::to_owned),
        options: if has_options { options } else { "-" }.to_owned(),
        kind,
        disk: part.option("--ondisk").unwrap_or(first).to_owned(),
        existing: None,
    })
}

/// Models `PartitionData.execute` in kickstart.py: an existing partition keeps its position and its
/// size. With --noformat, the partition also keeps its file system.
fn reuse(made: &mut Partition, part: &Command, name: &str, disks: &[&Disk]) -> Result<(), String> {
    let of_disk = |disk: &&Disk| {
        let found = disk.partitions.iter().find(|found| found.name == name)?;
        Some((disk.name.clone(), found.clone()))
    };
    let (disk, found) = disks
        .iter()
        .find_map(of_disk)
        .ok_or_else(|| format!("Partition \"{name}\" given in part command does not exist."))?;
    let formats = !part.has("--noformat");
    if !formats {
        (made.kind, made.label) = (found.kind, found.label);
    }
    (made.disk, made.mib, made.grows) = (disk, found.sectors >> 11, false);
    made.existing = Some((name.to_owned(), formats));
    Ok(())
}

/// Models `allocatePartitions` in blivet's partitioning.py. Returns the space that each disk has
/// left, in MiB.
fn allocate(plan: &Plan, disks: &[&Disk]) -> Result<BTreeMap<String, u64>, String> {
    let mut free = BTreeMap::new();
    for disk in disks {
        let needed: u64 = plan
            .partitions
            .iter()
            .filter(|part| part.disk == disk.name && part.existing.is_none())
            .map(|part| part.mib)
            .sum();
        // The first mebibyte of the disk is unused because of alignment.
        let left = (disk.bytes >> 20).checked_sub(needed + 1).ok_or_else(|| {
            format!(
                "Unable to allocate requested partition scheme on {}",
                disk.name
            )
        })?;
        free.insert(disk.name.clone(), left);
    }
    match plan
        .partitions
        .iter()
        .find(|part| !disks.iter().any(|disk| disk.name == part.disk))
    {
        Some(part) => Err(format!(
            "Disk \"{}\" given in part command does not exist.",
            part.disk
        )),
        None => Ok(free),
    }
}

/// Models Bootloader.execute (kickstart.py) and set_stage1_device (bootloader.py).
fn boot_loader(
    data: &Data,
    hardware: &Hardware,
    first: String,
    plan: &mut Plan,
) -> Result<(), String> {
    let drive = data.boot.drive.clone().unwrap_or(first);
    if !plan.labels.iter().any(|(disk, _)| *disk == drive) {
        return Err(format!(
            "Requested boot drive \"{drive}\" doesn't exist or cannot be used."
        ));
    }
    let mut arguments: Vec<String> = data
        .boot
        .append
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    arguments.sort();
    arguments.dedup();
    let program = if hardware.efi { "EFIGRUB" } else { "GRUB2" };
    if hardware.efi
        && !plan
            .partitions
            .iter()
            .any(|part| part.kind == "efi" && part.disk == drive)
    {
        return Err(
            "Failed to find a suitable stage1 device: there is no EFI system partition".into(),
        );
    }
    plan.boot_loader = Some((program, drive, arguments));
    Ok(())
}

/// Models verify_root and verify_gpt_biosboot (storage_utils.py). A size below the recommended size
/// or a missing swap partition causes only a warning.
fn check(plan: &Plan, hardware: &Hardware) -> Result<(), String> {
    let mounted = |place: &str| plan.partitions.iter().find(|part| part.mount == place);
    if !plan.mounts().any(|mount| mount == "/") {
        return Err("You have not defined a root partition (/)".into());
    }
    let unchanged = |part: &Partition| part.existing.as_ref().is_some_and(|(_, formats)| !formats);
    if mounted("/").is_some_and(unchanged) {
        return Err("You must create a new filesystem on the root device.".into());
    }
    // GRUB2's stage2_device_types in bootloader.py contains only partitions and arrays.
    let on_lvm = |volume: &&Volume| volume.mount.as_deref() == Some("/boot");
    if let Some(volume) = plan
        .volumes
        .iter()
        .find(on_lvm)
        .filter(|v| v.device.starts_with("lvm"))
    {
        return Err(format!(
            "/boot file system cannot be of type {}",
            volume.device
        ));
    }
    if let Some((_, drive, _)) = plan.boot_loader.as_ref().filter(|_| !hardware.efi) {
        let gpt = plan
            .labels
            .iter()
            .any(|(disk, label)| disk == drive && *label == "gpt");
        if gpt && mounted("biosboot").is_none_or(|part| part.disk != *drive) {
            return Err(
                "Your BIOS-based system needs a special partition to boot from a GPT disk label"
                    .into(),
            );
        }
    }
    Ok(())
}
