//! Models `autopart` and `reqpart`: `setDefaultPartitioning` in anaconda's installclass.py, and
//! blivet's platform.py and partitioning.py (doAutoPartition and doReqPartition).

use super::super::hardware::{Disk, Hardware};
use super::super::kickstart::Command;
use super::data::Data;
use super::types::{Partition, Plan, Volume};
use super::volumes::plain;

const MIB: u64 = 1 << 20;
/// The space that anaconda requires to make a volume for /home (installclass.py).
const HOME_MIB: u64 = 50 << 10;
/// The minimum size of a disk that anaconda uses (partitioning.py, _getCandidateDisks).
const CANDIDATE_MIB: u64 = 500;
/// The minimum space for automatic partitioning: /boot, the minimum for /, and as much swap space
/// as memory.
const LEAST_MIB: u64 = 2 << 10;

/// Models AutoPart.execute and ReqPart.execute.
pub(super) fn make(
    data: &Data,
    hardware: &Hardware,
    disks: &[&Disk],
    plan: &mut Plan,
) -> Result<(), String> {
    let of = |name: &str| data.volumes.iter().find(|command| command.name == name);
    let Some(disk) = disks.first() else {
        return Ok(());
    };
    let gpt = plan
        .labels
        .iter()
        .any(|(name, label)| *name == disk.name && *label == "gpt");
    if let Some(command) = of("autopart") {
        required(hardware, gpt, &disk.name, Some(200), plan);
        boot(&disk.name, command, plan);
        return layout(data, command, disks, plan);
    }
    if let Some(command) = of("reqpart") {
        // The EFI partition grows from 20 MiB to 200 MiB, and competes with the other partitions
        // for space.
        required(hardware, gpt, &disk.name, None, plan);
        if command.has("--add-boot") {
            boot(&disk.name, command, plan);
        }
    }
    Ok(())
}

/// Models `setPlatformBootloaderReqs` in platform.py.
fn required(hardware: &Hardware, gpt: bool, disk: &str, efi_mib: Option<u64>, plan: &mut Plan) {
    let part = |mount: &str, kind: &str, mib: Option<u64>, options: &str| Partition {
        mount: mount.into(),
        kind: kind.into(),
        mib: mib.unwrap_or(20),
        grows: mib.is_none(),
        label: None,
        options: options.into(),
        disk: disk.into(),
        existing: None,
    };
    if hardware.efi {
        let options = "umask=0077,shortname=winnt";
        plan.partitions
            .push(part("/boot/efi", "efi", efi_mib, options));
    } else if gpt {
        plan.partitions
            .push(part("biosboot", "biosboot", Some(1), "-"));
    }
}

/// Models `setPlatformBootPartition` in platform.py.
fn boot(disk: &str, command: &Command, plan: &mut Plan) {
    plan.partitions.push(Partition {
        mount: "/boot".into(),
        kind: command.option("--fstype").unwrap_or("xfs").into(),
        mib: 1024,
        grows: false,
        label: None,
        options: "defaults".into(),
        disk: disk.into(),
        existing: None,
    });
}

/// Models `_scheduleImplicitPartitions` and `_scheduleVolumes` in partitioning.py. anaconda names
/// the volume group after the product and the host; here its name is `centos`.
fn layout(data: &Data, command: &Command, disks: &[&Disk], plan: &mut Plan) -> Result<(), String> {
    let mib = |disk: &Disk| disk.bytes / MIB;
    if !disks
        .iter()
        .any(|disk| mib(disk) > CANDIDATE_MIB + LEAST_MIB)
    {
        return Err("Not enough free space on disks for automatic partitioning".into());
    }
    let kind = command.option("--type").unwrap_or("lvm").to_lowercase();
    if kind != "lvm" || command.has("--nolvm") || disks.len() > 1 || data.boot.none {
        return Err(format!(
            "the stand-in has no model of autopart --type={kind} on {} disks",
            disks.len()
        ));
    }
    let disk = &disks[0].name;
    plan.partitions.push(Partition {
        mount: "lvmpv".into(),
        kind: "lvmpv".into(),
        mib: 0,
        grows: true,
        label: None,
        options: "-".into(),
        disk: disk.clone(),
        existing: None,
    });
    plan.volumes
        .push(plain("centos".into(), "lvmvg", vec![disk.clone()]));
    let file_system = command.option("--fstype").unwrap_or("xfs");
    let home = mib(disks[0]) >= HOME_MIB + 1024 && !command.has("--nohome");
    for (name, mount) in [("root", Some("/")), ("home", Some("/home")), ("swap", None)] {
        if name == "home" && !home {
            continue;
        }
        plan.volumes.push(Volume {
            format: Some(mount.map_or("swap", |_| file_system).into()),
            mount: mount.map(str::to_owned),
            options: mount.map(|_| "defaults".into()),
            ..plain(format!("centos-{name}"), "lvmlv", vec!["centos".into()])
        });
    }
    plan.volumes.sort();
    Ok(())
}
