//! Reports the settings that pykickstart accepts but that anaconda's storage commands refuse
//! (anaconda 21.48.22.159, kickstart.py: the `execute` of each command, in the order of
//! doKickstartStorage). The checks cover only devices that the kickstart itself creates, because
//! other devices can exist on the disks.

use std::collections::{BTreeMap, BTreeSet};

use super::document::Kickstart;
use super::line::Line;
use super::options::GivenOption;
use crate::check::finding::Finding;

const STOPS: &str = "anaconda stops before it writes to the disks";

/// Checks the storage commands of a whole kickstart together.
pub(super) fn check(kickstart: &Kickstart<'_>, out: &mut Vec<Finding>) {
    find_duplicate_devices(kickstart, out);
    for line in &kickstart.commands {
        match line.command.name {
            "logvol" => {
                mount_point(line, &["swap"], out);
                boot(line, out);
                thin_volume(line, kickstart, out);
            }
            "raid" => {
                mount_point(line, &["swap", "pv.", "btrfs."], out);
                members(line, out);
            }
            "btrfs" => mount_point(line, &["none", "None"], out),
            "volgroup" => extent(line, out),
            "mount" if !line.has("--reformat") => out.push(
                refused(line, "mount requires --reformat")
                    .effect("anaconda crashes: UnboundLocalError (MountData.execute)")
                    .fix("add --reformat, or write part --onpart= --noformat"),
            ),
            "snapshot" => snapshot(line, kickstart, out),
            _ => {}
        }
    }
}

fn refused(line: &Line<'_>, message: impl Into<String>) -> Finding {
    Finding::error("kickstart/storage", line.span(), message).effect(STOPS)
}

fn exists(line: &Line<'_>) -> bool {
    line.has("--useexisting") || line.has("--noformat")
}

fn point<'l>(line: &'l Line<'_>) -> &'l str {
    line.words.first().map_or("", |word| word.value.as_str())
}

/// Finds a second device with the same name (PartitionData, RaidData, VolGroupData, LogVolData).
fn find_duplicate_devices(kickstart: &Kickstart<'_>, out: &mut Vec<Finding>) {
    let mut made = BTreeSet::new();
    for line in kickstart.commands.iter().filter(|line| !exists(line)) {
        let name = match line.command.name {
            "partition"
                if ["pv.", "raid.", "btrfs."]
                    .iter()
                    .any(|kind| point(line).starts_with(kind)) =>
            {
                Some(point(line).to_owned())
            }
            "raid" => line.value("--device").map(|name| format!("array {name}")),
            "volgroup" => Some(format!("group {}", point(line))),
            "logvol" => {
                let names = line.value("--vgname").zip(line.value("--name"));
                names.map(|(group, name)| format!("volume {group}/{name}"))
            }
            _ => None,
        };
        if let Some(name) = name.filter(|name| !made.insert(name.clone())) {
            out.push(refused(line, format!("this is a second {name}")).fix("choose another name"));
        }
    }
}

/// Checks that a mount point is an absolute path or begins with one of `others` (LogVolData,
/// RaidData, BTRFSData). A thin pool has no mount point.
fn mount_point(line: &Line<'_>, others: &[&str], out: &mut Vec<Finding>) {
    let point = point(line);
    let fits = point.is_empty() || point.starts_with('/') || line.has("--thinpool");
    if !fits && !others.iter().any(|other| point.starts_with(other)) {
        let message = format!("`{point}` is not a mount point");
        out.push(refused(line, message).fix("write an absolute path"));
    }
}

/// Refuses /boot on a logical volume, because /boot must be on a partition or an array
/// (bootloader.py, GRUB2; storage_utils.py, verify_stage2).
fn boot(line: &Line<'_>, out: &mut Vec<Finding>) {
    if point(line) == "/boot" {
        out.push(
            refused(line, "/boot is on a logical volume")
                .effect("anaconda stops: GRUB 2 does not boot from LVM")
                .fix("write part /boot"),
        );
    }
}

/// Returns the volumes of a group in the kickstart. The value for a volume is true if the volume
/// has the option `flag` (`--thin` or `--thinpool`) or already exists.
fn volumes<'k>(kickstart: &'k Kickstart<'_>, group: &str, flag: &str) -> BTreeMap<&'k str, bool> {
    let ours = |line: &&Line<'_>| line.is(&["logvol"]) && line.value("--vgname") == Some(group);
    let named = |line: &'k Line<'_>| Some((line.value("--name")?, line.has(flag) || exists(line)));
    kickstart
        .commands
        .iter()
        .filter(ours)
        .filter_map(named)
        .collect()
}

fn makes_group(kickstart: &Kickstart<'_>, group: &str) -> bool {
    let ours = |line: &Line<'_>| line.is(&["volgroup"]) && point(line) == group && !exists(line);
    kickstart.commands.iter().any(ours)
}

/// If the kickstart creates the volume group of a thin volume, checks that the kickstart also
/// creates the pool (LogVolData).
fn thin_volume(line: &Line<'_>, kickstart: &Kickstart<'_>, out: &mut Vec<Finding>) {
    let (Some(group), Some(pool)) = (line.value("--vgname"), line.value("--poolname")) else {
        return;
    };
    if line.has("--thin")
        && makes_group(kickstart, group)
        && volumes(kickstart, group, "--thinpool").get(pool) != Some(&true)
    {
        out.push(
            refused(
                line,
                format!("nothing in the kickstart creates the thin pool {group}/{pool}"),
            )
            .fix(format!(
                "add logvol none --vgname={group} --name={pool} --thinpool"
            )),
        );
    }
}

/// Returns whether a snapshot is taken after the installation. pykickstart ignores the case of the
/// value of `--when=`.
pub(super) fn is_post_install(line: &Line<'_>) -> bool {
    line.value("--when")
        .is_some_and(|when| when.eq_ignore_ascii_case("post-install"))
}

/// If a snapshot is taken after the installation and the kickstart creates the volume group, checks
/// that the origin is a thin volume (SnapshotData.setup).
fn snapshot(line: &Line<'_>, kickstart: &Kickstart<'_>, out: &mut Vec<Finding>) {
    let Some((group, name)) = point(line).split_once('/') else {
        return;
    };
    if is_post_install(line)
        && makes_group(kickstart, group)
        && volumes(kickstart, group, "--thin").get(name) != Some(&true)
    {
        out.push(
            refused(line, format!("{group}/{name} is not a thin volume"))
                .fix("create the volume with logvol --thin --poolname="),
        );
    }
}

/// Checks the number of members of an array (blivet, devicelibs/raid.py, min_members).
fn members(line: &Line<'_>, out: &mut Vec<Finding>) {
    let level = line.value("--level").unwrap_or_default().to_lowercase();
    let needed = match level.trim_start_matches("raid") {
        "0" | "stripe" | "1" | "mirror" => 2,
        "4" | "5" => 3,
        "6" | "10" => 4,
        _ => return,
    };
    let members = line.words.len().saturating_sub(1);
    if !exists(line) && members < needed {
        let message = format!("the array has too few members for RAID level {level}: {members}");
        out.push(refused(line, message).fix(format!("name at least {needed} members")));
    }
}

/// Checks the size of physical extents (blivet, devicelibs/lvm.py, getPossiblePhysicalExtents).
fn extent(line: &Line<'_>, out: &mut Vec<Finding>) {
    let kib = |given: &GivenOption| {
        given
            .value
            .as_deref()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let wrong = |kib: &u64| *kib != 0 && (!kib.is_power_of_two() || *kib > 16 << 20);
    if let Some(kib) = line.find("--pesize").and_then(kib).filter(wrong) {
        let message = format!(
            "the size of the physical extents, {kib} KiB, is not a power of two up to 16 GiB"
        );
        out.push(refused(line, message).fix("write a power of two in KiB, such as 4096"));
    }
}
